"""A message of the library, as the user of a program reads it."""

from __future__ import annotations

import pytest

from std_keras.programs import flag_names


@pytest.fixture(autouse=True)
def _flags():
    flag_names.know(("batch_size", "jit_compile", "size", "teacher"))
    yield
    flag_names.know(())


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("batch_size=3 is odd", "--batch_size=3 is odd"),
        ("config.json: batch_size=3 is odd", "config.json: --batch_size=3 is odd"),
        ("use jit_compile=False, or jit_compile=True", "use --nojit_compile, or --jit_compile"),
        ("name it with `teacher`", "name it with --teacher"),
        ("(batch_size=3; teacher=[])", "--batch_size=3; --teacher=[]"),
        (
            "run `f(batch_size=3)` first, then batch_size=4",
            "`f(batch_size=3)` first, then --batch_size=4",
        ),
        ("an odd ` and batch_size=4", "an odd ` and --batch_size=4"),
        # What only looks like one:
        ("--batch_size=3", "--batch_size=3"),
        ("teacher=a.keras,size=4 is", "--teacher=a.keras,size=4 is"),
        ("/runs/batch_size=3/x is missing", "/runs/batch_size=3/x is missing"),
        ("my_batch_size=3 and epochs=4", "my_batch_size=3 and epochs=4"),
    ],
)
def test_as_flags(said, shown):
    assert shown in flag_names.as_flags(said)


def test_flags_of_a_program_that_this_one_starts():
    flag_names.know(["epochs"], too=True)
    assert flag_names.as_flags("batch_size=3 and epochs=4") == "--batch_size=3 and --epochs=4"
    flag_names.know(["epochs"])
    assert flag_names.as_flags("batch_size=3 and epochs=4") == "batch_size=3 and --epochs=4"


def test_a_library_caller_sees_arguments():
    flag_names.know(())
    assert flag_names.as_flags("batch_size=3 is odd") == "batch_size=3 is odd"
