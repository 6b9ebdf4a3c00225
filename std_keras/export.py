"""`python -m std_keras.export`: see `std_keras/programs/export.py`."""

from std_keras.programs.callable_module import make_callable
from std_keras.programs.export import console

make_callable(__name__)

if __name__ == "__main__":
    console()
