"""Two replicas evaluate as one does, and say what they cannot do; for steps see test_equality."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import std_keras

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    file = tmp_path_factory.mktemp("replicas") / "report.json"
    root = Path(std_keras.__path__[0]).parent
    path = os.pathsep.join([str(HERE), str(root), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(HERE / "two_replicas.py"), str(file)],
        env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(file.read_text())


def test_two_replicas_evaluate_as_one(report):
    one, two = report["evaluated"]
    assert len(one) > 10
    assert two == pytest.approx(one, rel=1e-4, abs=1e-5)


def test_a_mirrored_strategy_of_one_process_feeds_all_its_replicas(report):
    found = report["strategy"]
    assert found["replicas"] == 2
    assert found["shard"] == [0, 2, 2]
    assert found["chief"] is True


def test_what_two_cpu_replicas_cannot_do_is_named(report):
    messages = report["strategy"]["refused"]
    expected = (
        "--batch_size=15",
        "--batch_size=18",
        "--jit_compile",
        "--batch_size",
        "--mine_samples=5",
    )
    for message, flag in zip(messages, expected, strict=True):
        assert flag in message
