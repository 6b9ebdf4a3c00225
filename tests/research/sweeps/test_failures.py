"""Runs of a sweep that fail."""

from __future__ import annotations

import json

from std_keras.research.sweeps import runner
from tests.research.sweeps.studies import change, read, starts


def test_a_failing_run_is_recorded_and_stops_no_other(sweep, spec, tmp_path, capsys):
    change(spec, "[arms]", '[arms]\nbad = "--clip_norm=99"')
    assert sweep() == 3
    assert "2 of 7 runs failed (bad seed 0, bad seed 2): loss/total became non-finite" in (
        capsys.readouterr().err
    )
    rows = {(row["arm"], row["seed"]): row for row in read(tmp_path / "out.csv")}
    assert len(rows) == 7
    assert rows["bad", "2"]["state"] == "failed (3)" and rows["bad", "2"]["top1"] == ""
    assert rows["bad", "2"]["error"] == "loss/total became non-finite at step 3"
    assert rows["weak", "2"]["state"] == "done"
    assert "- bad seed 2, failed (3): loss/total became" in (tmp_path / "out.md").read_text()
    assert sweep() == 3
    assert starts(tmp_path)["bad-seed0"] == 2, "tried again"
    assert starts(tmp_path)["weak-seed0"] == 1


def test_a_program_that_leaves_nothing_has_failed(sweep, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("std_keras.research.sweeps.runner.PROGRAM", ("true",))
    assert sweep("--only=baseline") == 5
    assert "the training program left no result" in capsys.readouterr().err
    assert {row["state"] for row in read(tmp_path / "out.csv")} == {"failed (5)"}


def test_a_log_that_is_no_text(tool, tmp_path):
    (tmp_path / "log").write_bytes(b"\xff\xfe\nerror: \xe9 is too large\n")
    assert runner.last_line(tmp_path / "log") == "\ufffd is too large"


def test_a_result_that_is_damaged_ends_it_with_a_sentence(sweep, tmp_path, capsys):
    assert sweep() == 0
    file = tmp_path / "runs" / "weak-seed2" / "result.json"
    damaged = json.loads(file.read_text())
    del damaged["heads"]
    file.write_text(json.dumps(damaged))
    assert sweep() == 2
    assert f"{file} is damaged: it lacks heads" in capsys.readouterr().err
