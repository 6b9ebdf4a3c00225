"""`python -m std_keras.train`: see `std_keras/programs/train.py`."""

from std_keras.programs.train import console

if __name__ == "__main__":
    console()
