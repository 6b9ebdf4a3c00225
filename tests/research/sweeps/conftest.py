"""Sweeps in this process, with trainings of a moment."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import pytest

from std_keras.programs import program
from std_keras.programs.sweep import main
from std_keras.research.sweeps import runner
from tests.research.sweeps.studies import FAKE, SPEC, starts


@pytest.fixture
def tool(root, monkeypatch):
    """Trainings are those of a fake."""
    monkeypatch.setattr(program.StopRequest, "install", lambda self: None)
    monkeypatch.setattr(runner, "PROGRAM", (sys.executable, str(FAKE)))
    monkeypatch.setattr(runner, "_POLL_SECONDS", 0.05)


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "base.flags").write_text("--epochs=2\n--warmup_epochs=0\n")
    path = tmp_path / "study.toml"
    path.write_text(SPEC.format(here=tmp_path))
    return path


@pytest.fixture
def sweep(tool, spec, tmp_path, monkeypatch):
    """Runs the program in this process; returns its exit code."""

    def run(*arguments, file=spec):
        given = (str(file), f"--output={tmp_path}/out.csv", f"--runs_dir={tmp_path}/runs")
        monkeypatch.setattr(sys, "argv", ["std-keras sweep", *given, *arguments])
        return program.run(main)

    return run


@pytest.fixture
def late_once(tmp_path, monkeypatch):
    """Makes the sweep's clock jump by an hour as soon as a run has started so many times."""

    def once(name, count):
        def now():
            return time.monotonic() + 3600 * (starts(tmp_path).get(name, 0) >= count)

        monkeypatch.setattr("std_keras.research.sweeps.sweep.time", SimpleNamespace(monotonic=now))

    return once
