"""`python -m std_keras.classify`: see `std_keras/programs/classify.py`."""

from std_keras.programs.classify import console

if __name__ == "__main__":
    console()
