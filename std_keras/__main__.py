"""`python -m std_keras COMMAND`: see `std_keras/programs/main.py`."""

from std_keras.programs.main import console

if __name__ == "__main__":
    console()
