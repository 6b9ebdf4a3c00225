"""Times of files: how they are put together."""

from __future__ import annotations

import pytest

from std_keras.errors import Interrupted
from std_keras.exporting import cold_start, convert, inference_model, timing


@pytest.fixture(scope="module")
def content(student) -> bytes:
    return convert(inference_model(student, head="classification"), quantization="float32")


@pytest.fixture
def turns(monkeypatch):
    """Each inference takes as long as its file's first byte says.

    The machine is busy in the second round: then everything takes ten times as long.
    """
    turns = []

    def time_file(content, *, num_threads):
        busy = 10 if 4 <= len(turns) < 8 else 1
        turns.append((content, num_threads))
        return busy * content[0] / num_threads

    monkeypatch.setattr(timing, "time_file", time_file)
    starts = iter([9.0, 8.0, 3.0, 4.0, None, 5.0])
    monkeypatch.setattr(timing, "cold_start_ms", lambda content, *, processes: next(starts))
    return turns


@pytest.fixture
def files(tmp_path):
    made = [tmp_path / "a", tmp_path / "b"]
    for path, seconds in zip(made, (b"\x04", b"\x02"), strict=True):
        path.write_bytes(seconds)
    return made


def test_files_take_turns_and_a_busy_round_does_not_count(turns, files):
    first, second = timing.in_turns(files, rounds=3)
    a, b = b"\x04", b"\x02"
    assert turns == [(a, 1), (a, 2), (b, 1), (b, 2)] * 3
    assert (first.latency, first.latency_2_threads) == pytest.approx((4.0, 2.0))
    assert (second.latency, second.latency_2_threads) == pytest.approx((2.0, 1.0))
    assert (first.cold_start, second.cold_start) == (3.0, 4.0)


def test_it_stops_between_files(turns, files):
    asked = iter([False, True])
    with pytest.raises(Interrupted):
        timing.in_turns(files, stop=lambda: next(asked))
    assert len(turns) == 2


def test_the_first_answer_in_a_new_process(content):
    found = cold_start.cold_start_ms(content, processes=1)
    assert 0 < found < 60_000


def test_the_middle_of_several_processes(content, monkeypatch):
    answers = iter([b"5.0\n", b"50.0\n", b"2.0\n"])
    calls = []

    class Done:
        stdout = b""

    def run(command, *, input, **_):
        calls.append((command, input))
        done = Done()
        done.stdout = next(answers)
        return done

    monkeypatch.setattr(cold_start.subprocess, "run", run)
    assert cold_start.cold_start_ms(content) == 5.0
    assert [given for _, given in calls] == [content] * 3


def test_what_cannot_be_measured_is_nothing(monkeypatch):
    assert cold_start.cold_start_ms(b"no TFLite file", processes=1) is None
    monkeypatch.setattr(cold_start.sys, "executable", "")
    assert cold_start.cold_start_ms(b"", processes=1) is None
