"""Progress on a terminal and elsewhere."""

from __future__ import annotations

import io
import logging
import sys
import threading
import time

import pytest

from std_keras import progress
from std_keras.errors import Interrupted


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def own_logger():
    logger = logging.getLogger("std_keras")
    before = (logger.handlers[:], logger.propagate, logger.level)
    # As a fresh process finds it, whatever programs ran in this one before.
    logger.handlers[:], logger.propagate = [], True
    logger.setLevel(logging.NOTSET)
    yield logger
    logger.handlers[:], logger.propagate = before[:2]
    logger.setLevel(before[2])


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes when the test says so."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_lines_go_to_standard_error_with_a_time(capsys):
    progress.configure()
    progress.configure()  # Twice: every line is still written once.
    progress.say("hello")
    progress.warn("careful")
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first[2] == first[5] == ":" and first.endswith(" hello")
    assert second.endswith(" warning: careful")


def test_quiet_keeps_warnings(capsys):
    progress.configure(verbose=False)
    progress.say("hello")
    progress.warn("careful")
    err = capsys.readouterr().err
    assert "hello" not in err and "warning: careful" in err


def test_a_library_user_sees_nothing_by_default(capsys):
    progress.say("hello")
    progress.Bar(total=3, what="train").advance(1)
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_a_line_now_and_then_with_rate_and_time_left(capsys, clock):
    progress.configure()
    bar = progress.Bar(total=1000, done=100, what="train", unit_scale=32)
    for _ in range(100):  # 50 seconds in all.
        clock.now += 0.5
        bar.advance(1, "loss 1.250")
    bar.close()
    lines = [line[9:] for line in capsys.readouterr().err.splitlines()]
    # 2 steps per second, counted from where this process began.
    assert lines == [
        "train 140/1000 (14%), 64 img/s, 7:10 left, loss 1.250",
        "train 180/1000 (18%), 64 img/s, 6:50 left, loss 1.250",
    ]


def test_the_first_call_tells_no_rate(capsys, clock):
    """It holds the tracing of the graph; what it would say of the time left is far off."""
    progress.configure()
    bar = progress.Bar(total=1000, what="train", unit_scale=32)
    clock.now += 25.0
    bar.advance(1)
    for _ in range(40):
        clock.now += 0.5
        bar.advance(1)
    bar.close()
    lines = [line[9:] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["train 1/1000 (0%)", "train 41/1000 (4%), 64 img/s, 7:59 left"]


def test_on_a_terminal_a_bar_counts_examples(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress.configure()
    bar = progress.Bar(total=10, done=4, what="train", unit_scale=32)
    bar.advance(6, "loss 0.5")
    progress.say("evaluated")
    bar.close()
    shown = terminal.getvalue()
    assert "train:  40%" in shown and "128/320" in shown
    assert any(line.endswith(" evaluated") for line in shown.splitlines())


def test_with_standard_error_closed_it_says_nothing(monkeypatch, capsys):
    progress.configure()
    monkeypatch.setattr(sys, "stderr", None)
    progress.say("hello")
    assert list(progress.track([1], total=1, what="reading")) == [1]
    assert capsys.readouterr() == ("", "")


def test_a_loop_that_can_be_stopped_ends_with_a_sentence():
    asked = iter([False, False, True])
    seen = []
    with pytest.raises(Interrupted, match="interrupted while reading images; run the same command"):
        for item in progress.stoppable(lambda: next(asked))("abcd", total=4, what="reading images"):
            seen.append(item)
    assert seen == ["a", "b"]
    assert list(progress.stoppable(lambda: False)("abc", total=3, what="x")) == ["a", "b", "c"]


def test_a_loop_that_gets_nothing_says_so_again_and_again(monkeypatch):
    """It comes from another thread: the loop's own is held."""
    said, heard = [], threading.Event()

    def warn(line):
        said.append(line)
        if len(said) == 2:
            heard.set()

    def items():
        yield "a"
        assert heard.wait(timeout=600)
        yield "b"

    monkeypatch.setattr(progress, "_STALL_SECONDS", 0.01)
    monkeypatch.setattr(progress, "warn", warn)
    assert list(progress.track(items(), total=2, what="reading images")) == ["a", "b"]
    assert all(line.startswith("reading images: nothing came for") for line in said)
    assert "after 1 of 2; the disk or the network may have stalled" in said[0]


def test_a_loop_that_works_does_not_wait(monkeypatch):
    said = []
    monkeypatch.setattr(progress, "_STALL_SECONDS", 0.01)
    monkeypatch.setattr(progress, "warn", said.append)
    watched = threading.Event()
    original = threading.Event.wait

    def wait(self, timeout=None):
        watched.set()
        return original(self, timeout)

    monkeypatch.setattr(threading.Event, "wait", wait)
    for _ in progress.track([1], total=1, what="slow work"):
        for _ in range(3):  # The watcher looks while the loop works.
            watched.clear()
            assert original(watched, 600)
            time.sleep(0.02)
    assert not said


@pytest.mark.parametrize("items", [[], [1, 2, 3]])
def test_track_yields_everything_and_closes_when_left_early(items):
    assert list(progress.track(items, total=len(items), what="reading")) == items
    for _ in progress.track(items, total=len(items), what="reading"):
        break


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0:00"), (59.9, "0:59"), (61, "1:01"), (3600, "1:00:00"), (90061, "25:01:01")],
)
def test_duration(seconds, expected):
    assert progress.duration(seconds) == expected


@pytest.mark.parametrize("log", [progress.say, progress.warn])
def test_any_handler_can_write_the_name_of_a_file(own_logger, tmp_path, log):
    own_logger.addHandler(logging.FileHandler(tmp_path / "log", encoding="utf-8"))
    own_logger.setLevel(logging.INFO)
    log("runs/caf\udce9")
    assert (tmp_path / "log").read_bytes().endswith(b"runs/caf\\udce9\n")
