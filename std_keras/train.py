"""`python -m std_keras.train`: see `std_keras/programs/train.py`."""

from std_keras.programs.callable_module import make_callable
from std_keras.programs.train import console

make_callable(__name__)

if __name__ == "__main__":
    console()
