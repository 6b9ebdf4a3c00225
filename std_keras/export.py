"""`python -m std_keras.export`: see `std_keras/programs/export.py`."""

from std_keras.programs.export import console

if __name__ == "__main__":
    console()
