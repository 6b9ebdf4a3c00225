"""Sweeps that end early: the budget, signals, a kill."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.research.sweeps.studies import FAKE, change, read, starts


def test_the_budget_ends_the_sitting_and_the_next_goes_on(sweep, spec, late_once, tmp_path, capsys):
    change(spec, "--alpha=0.25", "--alpha=0.25 --width=99")
    late_once("weak-seed0", 1)
    assert sweep("--budget_minutes=50") == 75
    assert "stopped with 3 of 5 runs left" in capsys.readouterr().err
    record = json.loads((tmp_path / "runs" / "weak-seed0.json").read_text())
    assert record["state"] == "started" and record["seconds"] > 0.1
    assert len(read(tmp_path / "out.csv")) == 2, "teacher and baseline"
    late_once("weak-seed2", 1)
    assert sweep("--only=weak", "--budget_minutes=50") == 75, "seed 2 waits in turn"
    assert starts(tmp_path)["weak-seed0"] == 2
    after = json.loads((tmp_path / "runs" / "weak-seed0.json").read_text())
    assert after["state"] == "done" and after["seconds"] > record["seconds"]


def begin_sweep(root, spec, tmp_path):
    """A sweep in a process of its own, whose trainings wait to be stopped."""
    spec.write_text(spec.read_text().replace('"--distillation=none"', '"--width=99"'))
    start = (
        "import sys; from std_keras.programs import program, sweep;"
        "from std_keras.research.sweeps import runner;"
        "runner.PROGRAM = (sys.executable, sys.argv[1]);"
        "del sys.argv[1]; sys.exit(program.run(sweep.main))"
    )
    out = [str(spec), f"--output={tmp_path}/out.csv", f"--runs_dir={tmp_path}/runs"]
    return subprocess.Popen(
        [sys.executable, "-c", start, str(FAKE), *out],
        env={**os.environ, "PYTHONPATH": str(root)},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(wanted, process):
    deadline = time.monotonic() + 600
    while not wanted.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


def test_a_signal_to_the_sweep_reaches_the_run(root, spec, tmp_path):
    """SIGTERM and Ctrl-C: the training ends with 75, so does the sweep, nothing stays behind."""
    for attempt, number in enumerate((signal.SIGTERM, signal.SIGINT)):
        process = begin_sweep(root, spec, tmp_path)
        wait_for(tmp_path / "runs" / f"baseline-seed{2 * attempt}" / "started", process)
        process.send_signal(number)
        _, said = process.communicate(timeout=600)
        assert process.returncode == 75, said
        assert "run the same command to continue" in said.splitlines()[-1]
    # The first run was continued by the second sitting.
    assert len((tmp_path / "runs/baseline-seed0/started").read_text().splitlines()) == 2


def test_a_sweep_that_is_killed_goes_on(root, sweep, spec, tmp_path):
    """Its training ends too, and keeps the run directory until then."""
    change(spec, "seeds = [0, 2]", "seeds = [0]")
    process = begin_sweep(root, spec, tmp_path)
    first = tmp_path / "runs" / "baseline-seed0"
    wait_for(first / "started", process)
    process.kill()
    process.communicate(timeout=600)
    with open(first / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
    assert not (first / "result.json").exists()
    assert sweep("--only=baseline") == 0
    assert {row["arm"]: row["state"] for row in read(tmp_path / "out.csv")}["baseline"] == "done"
    assert starts(tmp_path)["baseline-seed0"] == 2


def test_the_budget_ends_all_runs_that_are_made_at_once(sweep, spec, late_once, tmp_path, capsys):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core")
    change(spec, '"--distillation=none"', '"--distillation=none --width=99"')
    late_once("baseline-seed2", 1)  # The third to start: then the teacher is done.
    assert sweep("--parallel=2", "--budget_minutes=50") == 75
    assert "runs left; run the same command to continue" in capsys.readouterr().err
    states = {f.stem: json.loads(f.read_text())["state"] for f in tmp_path.glob("runs/*.json")}
    assert states["baseline-seed0"] == states["baseline-seed2"] == "started"
    assert states["teacher-small"] == "done"
    assert sweep("--parallel=2", "--only=baseline") == 0
    assert starts(tmp_path)["baseline-seed0"] == 2, "continued"
