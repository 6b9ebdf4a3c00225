"""A sweep: what it runs, in which order, what it keeps, and what its tables say."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from std_keras.config import TrainConfig, resolve, with_model_of
from std_keras.errors import InputError
from std_keras.programs import program
from std_keras.programs.sweep import main
from std_keras.research.sweeps import plan, record, runner
from std_keras.research.sweeps import spec as specs
from std_keras.research.sweeps.estimate import Estimate
from std_keras.research.sweeps.sweep import _locked as locked
from std_keras.research.sweeps.tables import Tables
from std_keras.runs.run_directory import RunDirectory

FAKE = Path(__file__).parent / "fake_train.py"
SPEC = """
title = "A study"
flags = "--flagfile=base.flags"
seeds = [0, 2]

[teachers]
small = "--model=cifar_resnet20 --epochs=1 --model_dir={here}/small"

[arms]
baseline = "--distillation=none"
weak = "--distillation=hard --teacher={{small}},site=last --alpha=0.25"
"""


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


def read(path):
    lines = path.read_text().splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def change(spec, old, new):
    assert old in spec.read_text()
    spec.write_text(spec.read_text().replace(old, new))


def starts(tmp_path):
    """How often the training program was started, by run directory."""
    return {f.parent.name: len(f.read_text().splitlines()) for f in tmp_path.rglob("started")}


@pytest.fixture
def late_once(tmp_path, monkeypatch):
    """Makes the sweep's clock jump by an hour as soon as a run has started so many times."""

    def once(name, count):
        def now():
            return time.monotonic() + 3600 * (starts(tmp_path).get(name, 0) >= count)

        monkeypatch.setattr("std_keras.research.sweeps.sweep.time", SimpleNamespace(monotonic=now))

    return once


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


def test_all_arms_come_with_the_first_seed_before_the_second(sweep, tmp_path, capsys):
    assert sweep("--dry_run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "# teacher-small",
        "# baseline seed 0",
        "# weak seed 0",
        "# baseline seed 2",
        "# weak seed 2",
    ]
    assert not (tmp_path / "runs").exists() and not (tmp_path / "out.csv").exists()


def test_what_is_done_is_not_done_again(sweep, tmp_path, capsys):
    assert sweep("--only=weak") == 0
    assert starts(tmp_path) == {"small": 1, "weak-seed0": 1, "weak-seed2": 1}
    assert sweep("--dry_run") == 0
    assert "# weak seed 2 (done)" in capsys.readouterr().out
    assert sweep() == 0
    assert sweep() == 0
    assert set(starts(tmp_path).values()) == {1} and len(starts(tmp_path)) == 5
    assert len(read(tmp_path / "out.csv")) == 5


def test_rows_count_where_the_run_directories_are_gone(sweep, tmp_path):
    """A table that is committed says what is done, on any machine."""
    assert sweep() == 0
    before = read(tmp_path / "out.csv")
    subprocess.run(["rm", "-r", str(tmp_path / "runs")], check=True)
    assert sweep() == 0
    assert read(tmp_path / "out.csv") == before
    assert not list((tmp_path / "runs").rglob("started"))


def test_a_place_that_is_not_utf8(sweep, spec, tmp_path, capsys):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    where = (f"--output={folder}/out.csv", f"--runs_dir={folder}/runs")
    assert sweep(*where) == 0
    before = starts(tmp_path)
    assert sweep(*where) == 0
    assert starts(tmp_path) == before and set(before.values()) == {1}
    shutil.rmtree(folder / "runs")  # The rows alone say what is done.
    assert sweep(*where) == 0, capsys.readouterr().err
    assert starts(tmp_path) == {"small": 1}
    assert r"caf\udce9/runs" in (folder / "out.csv").read_text(encoding="utf-8")
    assert "weak" in (folder / "out.md").read_text(encoding="utf-8")


def test_rows_of_other_flags_are_refused(sweep, spec, tmp_path, capsys):
    assert sweep() == 0
    change(spec, "--alpha=0.25", "--alpha=0.75")
    assert sweep() == 2
    assert "--alpha=0.25, now 0.75" in capsys.readouterr().err
    subprocess.run(["rm", "-r", str(tmp_path / "runs")], check=True)
    assert sweep() == 2
    assert "has a row of weak seed 0 with other flags" in capsys.readouterr().err


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


def test_a_teacher_of_other_flags_shows_them(sweep, spec, tmp_path, capsys):
    assert sweep("--only=weak") == 0
    capsys.readouterr()
    change(spec, "cifar_resnet20 --epochs=1", "cifar_resnet20 --epochs=7")
    assert sweep("--only=weak") == 0
    said = capsys.readouterr().err
    assert "teacher-small" in said and "--epochs=1, now 7" in said and "remove it" in said
    teacher = read(tmp_path / "out.csv")[0]
    assert teacher["arm"] == "teacher-small" and teacher["epochs"] == "1"
    assert "--epochs=1 " in teacher["flags"] + " ", "the row says what was trained"
    assert set(starts(tmp_path).values()) == {1}


def test_a_teacher_that_was_converted_has_no_figures(sweep, tmp_path, capsys):
    """`std-keras convert` makes such a run directory; its accuracy is not known."""
    assert sweep("--only=weak") == 0
    result = json.loads((tmp_path / "small/result.json").read_text())
    unknown = dict.fromkeys(("top1", "top5", "images_per_second"))
    converted = {**result, **unknown, "heads": {}, "origin": {"source": "elsewhere.pt"}}
    (tmp_path / "small/result.json").write_text(json.dumps(converted))
    for file in (tmp_path / "runs").glob("teacher-small*"):
        file.unlink()
    (tmp_path / "out.csv").unlink()
    assert sweep() == 0
    assert "other flags" not in capsys.readouterr().err
    teacher = read(tmp_path / "out.csv")[0]
    assert (teacher["state"], teacher["top1"], teacher["images_per_second"]) == ("done", "", "")
    assert "| `teacher-small` |  |  |" in (tmp_path / "out.md").read_text()


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


def test_a_student_waits_for_its_teacher_however_its_place_is_written(tool, spec, tmp_path):
    change(spec, f"--model_dir={tmp_path}/small", "--model_dir=./small/")
    runs = plan.runs(specs.read(spec), plan.Choices(runs_dir=tmp_path / "runs"))
    teacher, baseline, weak, *_ = runs
    assert plan.next_ready([weak, baseline], running=[teacher]) is baseline


def test_rows_show_the_precision(sweep, tmp_path):
    assert sweep("--only=baseline", "--extra_flags=--mixed_precision") == 0
    assert {row["precision"] for row in read(tmp_path / "out.csv")} == {"bfloat16"}
    header = next(x for x in (tmp_path / "out.csv").read_text().splitlines() if x[0] != "#")
    assert len(set(header.split(","))) == len(header.split(",")), "each column once"


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


def test_a_trial_has_teachers_of_its_own(sweep, tmp_path):
    assert sweep("--trial_examples=50") == 0
    assert not (tmp_path / "small").exists()
    rows = {row["arm"]: row for row in read(tmp_path / "out.csv")}
    for row in rows.values():
        assert row["epochs"] == "1"
        assert "--max_train_examples=50 --max_test_examples=10" in row["flags"]
    assert f"--teacher={tmp_path}/runs/teacher-small,site=last" in rows["weak"]["flags"]


def test_one_teacher_cache_for_all_arms_with_teachers(tool, spec, tmp_path):
    change(spec, "seeds =", "teacher_cache = true\nseeds =")
    sweep_ = specs.read(spec)
    runs = plan.runs(sweep_, plan.Choices(runs_dir=tmp_path / "runs"))
    caches = {run.name: run.config.distillation.teacher_cache for run in runs}
    folder = str(tmp_path / "runs" / "teacher_cache")
    assert caches == {
        "teacher-small": None,
        "baseline seed 0": None,
        "weak seed 0": folder,
        "baseline seed 2": None,
        "weak seed 2": folder,
    }
    assert len({run.config.data.data_seed for run in runs}) == 1


def test_a_seed_in_the_flags(tool, spec, sweep, tmp_path, capsys):
    """It is no difference between arms."""
    change(spec, '"--flagfile=base.flags"', '"--flagfile=base.flags --data_seed=1{seed}"')
    change(spec, "--distillation=none", "--distillation=none --log_dir=logs-{seed}-{seed}")
    with pytest.raises(InputError, match="log_dir"):
        plan.runs(specs.read(spec), plan.Choices(runs_dir=tmp_path))
    change(spec, " --log_dir=logs-{seed}-{seed}", " --alpha=0.{seed}5")
    runs = plan.runs(specs.read(spec), plan.Choices(runs_dir=tmp_path))
    configs = {run.name: run.config for run in runs}
    seeds = {name: config.data.data_seed for name, config in configs.items()}
    assert seeds == {
        "teacher-small": 0,
        "baseline seed 0": 10,
        "weak seed 0": 10,
        "baseline seed 2": 12,
        "weak seed 2": 12,
    }
    assert configs["baseline seed 2"].distillation.alpha == 0.25
    assert sweep() == 0
    assert "the same run" not in capsys.readouterr().err
    table = read(tmp_path / "out.csv")
    assert {"--alpha", "--distillation"} <= set(table[0])
    assert not {"--seed", "--data_seed"} & set(table[0])


def test_seeds_that_change_nothing_are_told(sweep, spec, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_SEED_WEIGHT", "0")  # As where the start is given.
    assert sweep() == 0
    error = capsys.readouterr().err
    assert error.count("is the same run as seed") == 2
    assert "baseline seed 2 is the same run as seed 0: nothing in it depends on the seed" in error
    assert "--data_seed={seed}" in error
    assert sweep() == 0  # Nothing is trained, but the tables still have these seeds.
    assert capsys.readouterr().err.count("the same run") == 2


def test_one_warning_for_two_seeds_at_once(sweep, spec, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_SEED_WEIGHT", "0")
    change(spec, "--alpha=0.25", "--alpha=0.25 --width=98")
    change(spec, "--flagfile=base.flags", "--flagfile=base.flags --data_seed={seed}")
    assert sweep("--parallel=2", "--only=weak") == 0
    error = capsys.readouterr().err
    assert error.count("the same run") == 1
    assert "{seed} into its flags" not in error  # It is there.


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


def test_an_arm_that_names_teachers_replaces_the_common_ones(tool, spec, tmp_path):
    change(spec, '"--flagfile=base.flags"', '"--flagfile=base.flags --teacher=/one --teacher=/two"')
    sweep_ = specs.read(spec)
    runs = {r.name: r for r in plan.runs(sweep_, plan.Choices(runs_dir=tmp_path))}
    assert runs["weak seed 0"].config.distillation.teachers == (f"{tmp_path}/small,site=last",)
    assert runs["baseline seed 0"].config.distillation.teachers == ("/one", "/two")


def test_a_teacher_may_need_another_teacher(tool, spec, tmp_path, capsys):
    """Both are made although the arm names one; the other way round it cannot be."""
    nasty = 'nasty = "--objective=nasty --teacher={small} --initialize_from={small} --model_dir=n"'
    change(spec, "[arms]", f"{nasty}\n[arms]")
    change(spec, "--teacher={small},site=last", "--teacher={nasty},site=last")
    planned = plan.runs(specs.read(spec), plan.Choices(runs_dir=tmp_path / "runs"))
    assert [run.arm for run in planned][:2] == ["teacher-small", "teacher-nasty"]
    assert planned[1].config.distillation.teachers == (f"{tmp_path}/small",)
    assert planned[1].config.optimization.initialize_from == f"{tmp_path}/small"
    assert planned[-1].config.distillation.teachers == ("n,site=last",)
    change(spec, "--model=cifar_resnet20", "--objective=nasty --teacher={nasty}")
    with pytest.raises(InputError, match="teacher small: --teacher={nasty} names no teacher"):
        plan.runs(specs.read(spec), plan.Choices(runs_dir=tmp_path / "runs"))


def test_a_start_gives_the_options_that_were_not_asked_for(tmp_path):
    """A run that took its width from the run it started from has the flags that it was told."""
    asked = TrainConfig(dataset="digits", initialize_from="x")
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    trained = resolve(
        with_model_of(asked, TrainConfig(width=8).model), image_size=8, horizontal_flip=False
    )
    directory.write_start(trained, label_names=("a",), architecture="{}")
    directory.write_result({})
    run = plan.Run("teacher-x", 0, asked, directory.path, tmp_path / "files")
    assert record.flags_that_differ(run) == []
    other = plan.Run("teacher-x", 0, asked.replace(width=9), directory.path, tmp_path / "files")
    assert record.flags_that_differ(other) == ["width=8, now 9"]


def test_the_flags_of_a_row_make_the_same_configuration(tool, spec, tmp_path):

    change(spec, "--alpha=0.25", "--alpha=0.25 --nomine_bias_correction --crop_twice --clip_norm=1")
    for run in plan.runs(specs.read(spec), plan.Choices(runs_dir=tmp_path)):
        again = plan._config(shlex.split(run.flags), where="row")
        assert again.flat() == run.config.flat()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds = [0, 2]", "seeds = [0, 0]", "seeds = [0, 0] must be distinct integers"),
        ("seeds = [0, 2]", "", "seeds = None must be"),
        ("seeds = [0, 2]", "seed = [0]", "'seed' is not a key of a sweep"),
        ("--alpha=0.25", "--alpha=25", "arm weak: --alpha=25.0 must be a fraction"),
        ("--alpha=0.25", "--alhpa=0.25", "did you mean --alpha"),
        ("{small}", "{tiny}", "names no teacher of the sweep; there are small"),
        ("--model_dir=", "--seed={seed} --model_dir=", "teacher small: a teacher is one for all"),
        ("small =", "seed =", "{seed} is the seed of a run; name that teacher otherwise"),
        ("base.flags", "nowhere.flags", "flags: --flagfile=nowhere.flags: no such file"),
        ("weak =", '"a/b" =', "'a/b' in [arms] becomes a file name"),
        ("weak =", '"#weak" =', "'#weak' in [arms] becomes a file name"),
        ("weak =", '"weak arm" =', "'weak arm' in [arms] becomes a file name"),
        ("weak =", '"weak\\n" =', "'weak\\n' in [arms] becomes a file name"),
        ("weak =", "weak = 3 #", "arms.weak = 3 must be a string of flags"),
        ("[arms]", "[arms", "is not TOML"),
        ("--model_dir=", "--data_dir=", "must name one --model_dir=DIR"),
    ],
)
def test_a_bad_spec_gets_a_sentence(sweep, spec, capsys, tmp_path, old, new, message):
    change(spec, old, new)
    assert sweep() == 2
    error = capsys.readouterr().err
    assert message in error and str(spec) in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only=strong",), "--only=strong is not an arm"),
        (("--budget_minutes=-1",), "--budget_minutes=-1.0 must be 0 or more"),
        (("--output=out.txt",), "must end in .csv"),
        (("another.toml",), "'another.toml' is unexpected"),
        (("--output={tmp_path}/study.toml.csv",), "is not the table of a sweep"),
    ],
)
def test_bad_flags_get_a_sentence(sweep, capsys, tmp_path, arguments, message):
    (tmp_path / "study.toml.csv").write_text("name,age\na,1\n")
    assert sweep(*(a.format(tmp_path=tmp_path) for a in arguments)) == 2
    assert message in capsys.readouterr().err


def test_two_sweeps_do_not_share_a_folder(sweep, tool, tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    with locked(tmp_path / "runs"):
        assert sweep() == 2
    assert "is in use by another sweep" in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_sweep_on_the_digits(root, tmp_path):
    """With the real training program: a teacher, a baseline and a student."""
    tiny = "--dataset=digits --epochs=1 --warmup_epochs=0 --batch_size=32"
    limits = "--max_train_examples=96 --max_test_examples=50"
    path = tmp_path / "real.toml"
    path.write_text(
        f'flags = "{tiny} {limits} --model=mixer_s16 --patch_size=4 --width=16 --depth=2"\n'
        "seeds = [0]\n[teachers]\n"
        f'small = "{tiny} {limits} --model=cifar_resnet20 --model_dir={tmp_path}/small"\n'
        '[arms]\nboth = "--distillation=hard --teacher={small}"\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "std_keras", "sweep", path, f"--output={tmp_path}/out.csv"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    teacher, both = read(tmp_path / "out.csv")
    result = json.loads((tmp_path / "runs/out/both-seed0/result.json").read_text())
    assert both["top1"] == f"{result['top1']:.4f}"
    assert both["distillation_0_last_top1"] == (
        f"{result['heads']['distillation_0_last']['top1']:.4f}"
    )
    assert both["steps"] == "3" and int(both["parameters"]) == result["parameters"]
    assert teacher["arm"] == "teacher-small" and teacher["state"] == "done"


@pytest.mark.parametrize(
    ("name", "arms", "runs"),
    [
        ("cifar100_cpu_recipe", 22, 22),
        ("cifar100_cpu_before_after", 3, 9),
        ("cifar100_cpu_student_teachers", 5, 5),
        ("cifar100_cpu_study", 18, 54),
        ("cifar100_reproduction", 6, 8),
        ("cifar100_reproduction_short", 6, 8),
        ("cifar100_cpu_undistillable", 10, 12),
    ],
)
def test_the_shipped_sweeps(tool, root, tmp_path, name, arms, runs):
    sweep_ = specs.read(root / "flags" / "sweeps" / f"{name}.toml")
    assert len(sweep_.arms) == arms
    planned = plan.runs(sweep_, plan.Choices(runs_dir=tmp_path))
    assert len(planned) == runs
    students = [run for run in planned if not run.is_teacher]
    assert {run.config.data.dataset for run in planned} == {"cifar100"}
    # No two arms ask the same.
    assert len({run.flags for run in students}) == len(students)
