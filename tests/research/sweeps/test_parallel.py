"""Several runs of a sweep at once."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from std_keras.research.sweeps.sweep import _locked as locked
from tests.research.sweeps.studies import change, read


def test_two_runs_at_once(sweep, spec, tmp_path, monkeypatch):
    """Each on cores of its own, and none before its teacher; the table is that of one at a time."""
    assert sweep() == 0
    one_by_one = {(r["arm"], r["seed"]): r["top1"] for r in read(tmp_path / "out.csv")}
    subprocess.run(["rm", "-r", tmp_path / "runs", tmp_path / "small"], check=True)
    (tmp_path / "out.csv").unlink()
    change(spec, '"--distillation=none"', '"--distillation=none --width=98"')
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("one core")
    assert sweep("--parallel=2") == 0
    rows = {(r["arm"], r["seed"]): r for r in read(tmp_path / "out.csv")}
    assert {key: row["top1"] for key, row in rows.items()} == one_by_one
    assert rows["baseline", "0"]["cores"] == str(len(cores) // 2)
    ran = {f.parent.name: json.loads(f.read_text()) for f in tmp_path.rglob("ran.json")}
    teacher, baseline, other = ran["small"], ran["baseline-seed0"], ran["baseline-seed2"]
    assert teacher["cores"] == cores[: len(cores) // 2]
    assert baseline["cores"] == cores[len(cores) // 2 :]
    assert other["began"] < baseline["ended"], "side by side"
    for seed in (0, 2):
        assert ran[f"weak-seed{seed}"]["began"] >= teacher["ended"]


def test_no_more_runs_at_once_than_cores(sweep, tmp_path, capsys):
    cores = len(os.sched_getaffinity(0))
    assert sweep(f"--parallel={cores + 1}") == 2
    assert f"--parallel={cores + 1} is more than the cores of this machine; it must be at most" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "runs").exists()


def test_two_sweeps_do_not_share_a_folder(sweep, tool, tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    with locked(tmp_path / "runs"):
        assert sweep() == 2
    assert "is in use by another sweep" in capsys.readouterr().err
