"""The runs of a sweep: their flags, their order, what waits for what."""

from __future__ import annotations

import shlex

import pytest

from std_keras.errors import InputError
from std_keras.research.sweeps import plan
from std_keras.research.sweeps import spec as specs
from tests.research.sweeps.studies import change, read


def test_a_student_waits_for_its_teacher_however_its_place_is_written(tool, spec, tmp_path):
    change(spec, f"--model_dir={tmp_path}/small", "--model_dir=./small/")
    runs = plan.runs(specs.read(spec), plan.Choices(runs_dir=tmp_path / "runs"))
    teacher, baseline, weak, *_ = runs
    assert plan.next_ready([weak, baseline], running=[teacher]) is baseline


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


def test_the_flags_of_a_row_make_the_same_configuration(tool, spec, tmp_path):

    change(spec, "--alpha=0.25", "--alpha=0.25 --nomine_bias_correction --crop_twice --clip_norm=1")
    for run in plan.runs(specs.read(spec), plan.Choices(runs_dir=tmp_path)):
        again = plan._config(shlex.split(run.flags), where="row")
        assert again.flat() == run.config.flat()


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


def test_a_trial_has_teachers_of_its_own(sweep, tmp_path):
    assert sweep("--trial_examples=50") == 0
    assert not (tmp_path / "small").exists()
    rows = {row["arm"]: row for row in read(tmp_path / "out.csv")}
    for row in rows.values():
        assert row["epochs"] == "1"
        assert "--max_train_examples=50 --max_test_examples=10" in row["flags"]
    assert f"--teacher={tmp_path}/runs/teacher-small,site=last" in rows["weak"]["flags"]
