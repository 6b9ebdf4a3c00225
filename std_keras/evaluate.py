"""`python -m std_keras.evaluate`: see `std_keras/programs/evaluate.py`."""

from std_keras.programs.evaluate import console

if __name__ == "__main__":
    console()
