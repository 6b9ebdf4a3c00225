"""`python -m std_keras.classify`: see `std_keras/programs/classify.py`."""

from std_keras.programs.callable_module import make_callable
from std_keras.programs.classify import console

make_callable(__name__)

if __name__ == "__main__":
    console()
