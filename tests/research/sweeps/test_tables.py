"""What the tables and the page of a sweep say."""

from __future__ import annotations

import os
import shlex
import statistics

from std_keras.research.sweeps.tables import Tables
from tests.research.sweeps.studies import change, read


def test_every_run_once_and_the_tables(sweep, tmp_path):
    assert sweep() == 0
    table = read(tmp_path / "out.csv")
    assert [(row["arm"], row["seed"]) for row in table] == [
        ("teacher-small", "0"),
        ("baseline", "0"),
        ("baseline", "2"),
        ("weak", "0"),
        ("weak", "2"),
    ]
    top1 = {(row["arm"], row["seed"]): row["top1"] for row in table}
    # 0.5 + seed / 100 + alpha / 10, and alpha is 0.5 by default.
    assert top1["baseline", "2"] == "0.5700"
    assert top1["weak", "2"] == "0.5450"
    weak = table[-1]
    assert weak["--alpha"] == "0.25" and weak["--distillation"] == "hard"
    assert weak["classification_top1"] == "0.4450" and weak["average_top1"] == "0.5450"
    assert weak["split"] == "test" and weak["state"] == "done" and weak["error"] == ""
    assert weak["cores"] == str(len(os.sched_getaffinity(0)))
    for column in ("processor", "tensorflow", "keras", "python", "seconds", "parameters"):
        assert weak[column], column
    assert "--alpha=0.25" in shlex.split(weak["flags"]) and "--seed=2" in weak["flags"]
    assert f"--teacher={tmp_path}/small,site=last" in shlex.split(weak["flags"])

    summary = {row["arm"]: row for row in read(tmp_path / "out_summary.csv")}
    assert summary["weak"]["top1_mean"] == f"{statistics.fmean([0.525, 0.545]):.4f}"
    assert summary["weak"]["top1_std"] == f"{statistics.stdev([0.525, 0.545]):.4f}"
    assert summary["weak"]["top1_n"] == "2"
    assert summary["weak"]["gain_mean"] == "-0.0250" and summary["weak"]["gain_std"] == "0.0000"
    assert summary["teacher-small"]["top1_n"] == "1" and summary["teacher-small"]["top1_std"] == ""

    page = (tmp_path / "out.md").read_text()
    assert "# A study" in page
    assert f" --runs_dir={tmp_path}/runs\n" in page  # Of the command that made it.
    assert "| `weak` | 53.50 ± 1.41 | 90.00 ± 0.00 | 43.50 ± 1.41 |" in page
    assert "| -2.50 ± 0.00 |" in page


def test_two_sweeps_of_one_table_keep_each_others_rows(sweep, spec, tmp_path, monkeypatch):
    assert sweep("--only=baseline") == 0
    tables = Tables
    read_first = tables.__init__
    kept = (tmp_path / "out.csv").read_text()

    def then_another_writes(self, *arguments, **named):
        (tmp_path / "out.csv").unlink()
        read_first(self, *arguments, **named)
        (tmp_path / "out.csv").write_text(kept)

    monkeypatch.setattr(tables, "__init__", then_another_writes)
    assert sweep(f"--runs_dir={tmp_path}/elsewhere", "--only=weak") == 0
    arms = {row["arm"] for row in read(tmp_path / "out.csv")}
    assert arms == {"baseline", "teacher-small", "weak"}


def test_rows_show_the_precision(sweep, tmp_path):
    assert sweep("--only=baseline", "--extra_flags=--mixed_precision") == 0
    assert {row["precision"] for row in read(tmp_path / "out.csv")} == {"bfloat16"}
    header = next(x for x in (tmp_path / "out.csv").read_text().splitlines() if x[0] != "#")
    assert len(set(header.split(","))) == len(header.split(",")), "each column once"


def test_choosing_sees_no_test_accuracy(sweep, tmp_path):
    assert sweep("--validation_fraction=0.1") == 0
    rows = {(row["arm"], row["seed"]): row for row in read(tmp_path / "out.csv")}
    assert rows["weak", "2"]["split"] == "validation"
    assert rows["weak", "2"]["top1"] == f"{0.545 / 2:.4f}"
    assert rows["weak", "2"]["classification_top1"] == f"{0.445 / 2:.4f}"
    assert rows["teacher-small", "0"]["split"] == "test"
    assert "--validation_fraction" not in rows["teacher-small", "0"]["flags"]
    page = (tmp_path / "out.md").read_text()
    assert "held out" in page and "54.50" not in page and "--validation_fraction=0.1" in page


def test_a_flag_of_one_arm_that_is_the_seed_by_chance(sweep, spec, tmp_path):
    change(spec, "[0, 2]", "[0]")
    change(spec, "--alpha=0.25", "--alpha=0.25 --crop_padding=0")
    assert sweep() == 0
    table = {row["arm"]: row for row in read(tmp_path / "out.csv")}
    assert table["weak"]["--crop_padding"] == "0"
    assert table["baseline"]["--crop_padding"] == ""


def test_arms_of_other_seeds_are_told_apart(sweep, spec, tmp_path):
    assert sweep("--only=baseline") == 0
    change(spec, "[0, 2]", "[1]")
    assert sweep("--only=weak") == 0
    columns = read(tmp_path / "out.csv")[0]
    assert "--alpha" in columns
    assert "--seed" not in columns
