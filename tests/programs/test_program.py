from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import tensorflow as tf

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


@pytest.mark.parametrize(
    "number",
    [errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EACCES, errno.EROFS],
)
def test_a_path_that_cannot_be_used_is_named(capsys, number):
    assert program.run(failing(OSError(number, os.strerror(number), "some/place"))) == 2
    said = capsys.readouterr().err
    assert said == f"error: some/place cannot be used: {os.strerror(number)}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{function_node x}} /run/x; No space left on device [Op:SaveV2]", "disk: /run/x; No"),
        ("failed to allocate 99 bytes", "memory: failed to allocate"),
    ],
)
def test_disk_and_memory_are_told_apart(text, said):
    error = tf.errors.ResourceExhaustedError(None, None, text)
    assert f"out of {said}" in str(program.machine_error(error))


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


# A mutex that is taken twice: C code that holds the main thread for ever, as TensorFlow can, and
# which no signal interrupts. The line says that it is about to.
STUCK = """
import contextlib, ctypes, sys
from std_keras import quiet
from std_keras.programs import program

def main(arguments, stop):
    lock = ctypes.CDLL(None).pthread_mutex_lock
    mutex = ctypes.create_string_buffer(64)
    lock(mutex)
    with {around}:
        print("stuck", flush=True)
        lock(mutex)

sys.exit(program.run(main))
"""


def begin_stuck(root, *, muted=False, stderr=subprocess.PIPE):
    around = "quiet.muted_stderr()" if muted else "contextlib.nullcontext()"
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK.format(around=around)],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    assert process.stdout.readline() == "stuck\n"
    return process


@pytest.fixture(params=[False, True], ids=["heard", "muted"])
def stuck(root, request):
    """Also while what C++ writes is held back, as it is while TensorFlow is loaded."""
    process = begin_stuck(root, muted=request.param)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_acknowledged_while_the_main_thread_is_held(stuck, number):
    stuck.send_signal(number)
    said = stuck.stderr.readline()
    assert f"{signal.Signals(number).name}: stopping" in said
    assert "Ctrl-C" in said
    assert stuck.poll() is None


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_ends_a_program_whose_main_thread_is_held(stuck, first):
    stuck.send_signal(first)
    stuck.stderr.readline()
    time.sleep(program._SHORTEST_GAP)
    stuck.send_signal(signal.SIGINT)
    assert stuck.wait(timeout=600) == 130
    assert "stopped without saving" in stuck.stderr.read()


def test_a_second_ctrl_c_ends_it_though_nobody_reads_what_it_says(root):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(1024))
    os.set_blocking(writing, True)
    process = begin_stuck(root, stderr=writing)
    try:
        while process.poll() is None:  # Those of the first moment count as one.
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.2)
        assert process.returncode == 130
    finally:
        process.kill()
        process.communicate()
        os.close(reading)
        os.close(writing)


def test_ctrl_c_before_the_program_hears_it_leaves_no_traceback(root):
    """While its own modules are imported, which takes seconds on a busy machine."""
    program_text = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "std_keras.programs.program":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from std_keras.programs.main import console
console()
"""
    done = subprocess.run(
        [sys.executable, "-c", program_text], cwd=root, capture_output=True, text=True, timeout=600
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


class Ended(Exception):
    """Instead of `os._exit`."""


@pytest.fixture
def listened(monkeypatch):
    """Lets a `StopRequest` hear signals at moments; returns the exit code, and it."""

    def listened(*moments):
        def ended(code):
            raise Ended(code)

        def read(reading, size):
            return bytes(come.pop(0)[1]) if come else b""

        come, clock = list(moments), [moment for moment, _ in moments]
        system = SimpleNamespace(_exit=ended, read=read, close=id, write=lambda *text: None)
        monkeypatch.setattr(program, "os", system)
        monkeypatch.setattr(
            program, "time", SimpleNamespace(monotonic=lambda: clock[-1 - len(come)])
        )
        stop = program.StopRequest()
        try:
            stop._listen(0)
        except Ended as end:
            return end.args[0], stop
        return None, stop

    return listened


INT, TERM = signal.SIGINT, signal.SIGTERM


@pytest.mark.parametrize(
    ("moments", "code"),
    [
        ([(0.0, [INT, INT])], None),
        ([(0.0, [INT]), (0.004, [INT])], None),
        ([(0.0, [TERM]), (0.004, [INT])], None),
        ([(0.0, [INT]), (0.004, [INT]), (0.49, [INT])], None),
        ([(0.0, [INT]), (0.004, [INT]), (0.51, [INT])], 130),
        ([(0.0, [INT]), (60.0, [signal.SIGCHLD]), (61.0, [signal.SIGCHLD, INT])], 130),
        ([(0.0, [TERM]), (2.0, [INT])], 130),
        ([(0.0, [INT]), (2.0, [TERM])], None),
    ],
)
def test_signals_within_a_moment_are_one(listened, moments, code):
    """`timeout -s INT` tells its child and then the group that the child is in."""
    ended, stop = listened(*moments)
    assert ended == code
    assert stop.signal == moments[0][1][0]


def test_a_second_sigterm_does_not_end_it(monkeypatch):
    """Schedulers repeat theirs; what can be saved is saved."""

    def ended(code):
        raise AssertionError(f"ended with {code}")

    monkeypatch.setattr(program.os, "_exit", ended)
    reading, writing = os.pipe()
    os.write(writing, bytes([signal.SIGINT, signal.SIGTERM, signal.SIGTERM, signal.SIGCHLD]))
    os.close(writing)
    stop = program.StopRequest()
    stop._listen(reading)
    assert stop.signal == signal.SIGINT


def test_signals_of_a_forked_process_are_its_own(root):
    """Ctrl-C in a terminal goes to all of them, and counts once in each."""
    program_text = """
import os, signal, sys
from std_keras.programs import program

def main(arguments, stop):
    child = os.fork()
    if not child:
        os.kill(os.getpid(), signal.SIGINT)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert not stop
    os.kill(os.getpid(), signal.SIGINT)
    assert stop

sys.exit(program.run(main))
"""
    done = subprocess.run(
        [sys.executable, "-c", program_text], cwd=root, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr


def test_a_program_that_is_over_hears_no_more(capsys):
    before = threading.active_count()

    def main(arguments, stop):
        assert signal.set_wakeup_fd(-1) != -1

    assert program.run(main) == 0
    assert signal.set_wakeup_fd(-1) == -1
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    for thread in threading.enumerate():
        if thread.name == "signals":
            thread.join(timeout=600)
    assert threading.active_count() <= before


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
            timeout=600,
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_standard_output_that_is_closed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", None)
    assert program.run(lambda arguments, stop: None) == 0
    assert program.run(failing(errors.InputError("no"))) == 2
