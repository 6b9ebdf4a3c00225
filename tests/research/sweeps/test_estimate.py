"""The time that a sweep still needs."""

from __future__ import annotations

from std_keras.research.sweeps import plan
from std_keras.research.sweeps import spec as specs
from std_keras.research.sweeps.estimate import Estimate


def test_the_time_that_is_left(tool, spec, tmp_path, monkeypatch):
    planned = plan.runs(specs.read(spec), plan.Choices(runs_dir=tmp_path / "runs"))
    teacher, first, weak, *others = planned
    clock = [100.0]
    monkeypatch.setattr("std_keras.research.sweeps.estimate.time.monotonic", lambda: clock[0])
    estimate = Estimate(planned, parallel=2)
    waiting = [weak, *others]
    assert estimate.line([(teacher, 0.0), (first, 0.0)], waiting) == (
        "0/5 runs done; teacher-small 0%; baseline seed 0 0%"
    )
    clock[0] += 30
    # The teacher needs 60 s, the other 120: 30 and 90 s are left of them, three more take 90 each.
    assert estimate.line([(teacher, 0.5), (first, 0.25)], waiting).endswith(
        "; teacher-small 50%; baseline seed 0 25%; 3:15 left for all"
    )
    # Nothing waits: the longest one counts.
    assert estimate.line([(teacher, 0.5), (first, 0.25)], []).endswith("; 1:30 left for all")
