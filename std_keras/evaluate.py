"""`python -m std_keras.evaluate`: see `std_keras/programs/evaluate.py`."""

from std_keras.programs.callable_module import make_callable
from std_keras.programs.evaluate import console

make_callable(__name__)

if __name__ == "__main__":
    console()
