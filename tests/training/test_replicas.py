"""Two replicas take, traced, the step that one takes in Python; for all kinds see test_equality."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import processes

HERE = Path(__file__).parent

# Float32 sums in another order; Muon raises the small singular values of a gradient to one.
TOLERANCE = {"distilled": 2e-4, "with_muon": 1e-2, "with_adamw": 2e-4}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    file = tmp_path_factory.mktemp("replicas") / "report.json"
    done = processes.run(HERE / "two_replicas.py", file)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(file.read_text())


@pytest.mark.parametrize("case", TOLERANCE)
def test_weights_move_as_on_one_replica(report, case):
    apart = report[case]["variables"]
    assert len(report[case]["moved"]) > 10, "nothing was trained"
    worst = max(apart, key=apart.get)
    assert apart[worst] < TOLERANCE[case], f"{worst} differs by {apart[worst]:.2g}"


@pytest.mark.parametrize("case", [*TOLERANCE, "evaluated"])
def test_figures_are_those_of_one_replica(report, case):
    one, two = report[case]["figures"]
    assert one
    assert two == pytest.approx(one, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("case", TOLERANCE)
def test_all_replicas_hold_the_same_bits(report, case):
    """Weights, critics, MINE's and the weights' moving averages."""
    assert report[case]["replicas_apart"] == []


def test_critics_and_tokens_are_among_what_moves(report):
    assert any("score" in name for name in report["distilled"]["moved"])
    assert any("token" in name for name in report["distilled"]["moved"])


def test_a_mirrored_strategy_of_one_process_feeds_all_its_replicas(report):
    found = report["strategy"]
    assert found["replicas"] == 2
    assert found["shard"] == [0, 2, 2]
    assert found["chief"] is True


def test_a_second_run_of_a_process_sums_tensors_of_its_own(report):
    """The first operation of the first run had another shape."""
    assert report["strategy"]["of_a_second_run"] == 2.0


def test_what_two_cpu_replicas_cannot_do_is_named(report):
    messages = report["strategy"]["refused"]
    expected = (
        "batch_size=15",
        "batch_size=18",
        "jit_compile",
        "batch_size",
        "mine_samples=5",
    )
    for message, flag in zip(messages, expected, strict=True):
        assert flag in message
