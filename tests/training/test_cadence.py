"""The calendar, against counting one step at a time."""

from __future__ import annotations

import itertools

import pytest

from std_keras.training.cadence import Cadence


def calls(cadence: Cadence, start: int = 0) -> list[int]:
    """The step counts after each call of a run from `start`."""
    stops, step = [], start
    while step < cadence.total_steps:
        step = cadence.next_stop(step)
        stops.append(step)
        assert len(stops) <= cadence.total_steps, "the calendar stands still"
    return stops


CALENDARS = [
    Cadence(
        steps_per_epoch=epoch,
        total_steps=epoch * epochs,
        log_every=log,
        evaluate_every=epoch * every,
        checkpoint_every=save,
        steps_per_call=per_call,
    )
    for epoch, epochs, log, every, save, per_call in itertools.product(
        (1, 3, 7), (1, 4), (1, 2, 5, 100), (1, 3), (1, 4, 7, 50), (1, 3, 10)
    )
]


def events(cadence: Cadence, stops: list[int]) -> dict[str, list[int]]:
    return {
        "log": [s for s in stops if cadence.logs(s)],
        "epoch": [s for s in stops if cadence.ends_epoch(s)],
        "evaluate": [s for s in stops if cadence.evaluates(s)],
        "save": [s for s in stops if cadence.saves(s)],
    }


def test_every_multiple_is_met_and_the_end_exactly():
    for cadence in CALENDARS:
        total = cadence.total_steps
        stops = calls(cadence)
        steps = range(1, total + 1)
        assert stops[-1] == total
        assert events(cadence, stops) == {
            "log": [
                s
                for s in steps
                if s % cadence.log_every == 0
                or s == total
                or (
                    cadence.log_every > cadence.steps_per_epoch and s % cadence.steps_per_epoch == 0
                )
            ],
            "epoch": [s for s in steps if s % cadence.steps_per_epoch == 0],
            "evaluate": [s for s in steps if s % cadence.evaluate_every == 0 and s < total],
            "save": [s for s in steps if s % cadence.checkpoint_every == 0 or s == total],
        }


def test_no_call_is_longer_than_allowed_or_stops_without_need():
    for cadence in CALENDARS:
        stops = calls(cadence)
        for before, after in itertools.pairwise([0, *stops]):
            assert 1 <= after - before <= cadence.steps_per_call
            eventful = any(after in there for there in events(cadence, stops).values())
            assert eventful or after - before == cadence.steps_per_call


def test_a_continued_run_has_the_events_that_were_left():
    for cadence in CALENDARS:
        whole = events(cadence, calls(cadence))
        for start in range(cadence.total_steps):
            left = {name: [s for s in there if s > start] for name, there in whole.items()}
            assert events(cadence, calls(cadence, start)) == left


@pytest.mark.parametrize("per_call", [1, 2, 1000])
def test_steps_per_call_changes_no_event(per_call):
    shape = {"steps_per_epoch": 11, "total_steps": 44, "log_every": 4, "evaluate_every": 22}
    one = Cadence(**shape, checkpoint_every=9, steps_per_call=1)
    other = Cadence(**shape, checkpoint_every=9, steps_per_call=per_call)
    assert events(one, calls(one)) == events(other, calls(other))
