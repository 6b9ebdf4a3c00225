from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from std_keras import errors
from std_keras.programs import program


@pytest.fixture(autouse=True)
def _restore_signals():
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def failing(error):
    def main(arguments, stop):
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InputError("--x=1 is bad"), 2),
        (errors.NonFiniteError("loss"), 3),
        (errors.LimitError("too low"), 4),
        (errors.MachineError("disk"), 5),
        (errors.Interrupted("stopped"), 75),
        (OSError(errno.ENOSPC, "No space left on device", "file"), 5),
        (MemoryError(), 5),
    ],
)
def test_exit_codes_come_with_one_line_and_no_traceback(capsys, error, code):
    assert program.run(failing(error)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


def test_a_mistake_of_the_program_keeps_its_traceback(capsys):
    assert program.run(failing(KeyError("bug"))) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_unrelated_oserror_is_not_the_machine():
    assert program.machine_error(OSError(errno.ENOENT, "No such file", "x")) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_become_a_request_to_stop(number):
    seen = []

    def main(arguments, stop):
        assert not stop
        os.kill(os.getpid(), number)
        seen.append(bool(stop))

    assert program.run(main) == 0
    assert seen == [True]


def test_an_error_caused_by_a_signal_counts_as_interrupted(capsys):
    def main(arguments, stop):
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("cancelled")

    assert program.run(main) == 75
    assert "Traceback" not in capsys.readouterr().err


def test_a_reader_who_leaves_the_help_page_gets_no_traceback(root):
    reading, writing = os.pipe()
    os.close(reading)  # As `| head` does, once it has seen enough.
    with os.fdopen(writing, "w") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "std_keras.train", "--help"],
            cwd=root,
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert (done.returncode, done.stderr) == (0, "")
