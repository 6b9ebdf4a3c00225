"""A seed in the flags, and seeds that change nothing."""

from __future__ import annotations

import os

import pytest

from std_keras.errors import InputError
from std_keras.research.sweeps import plan
from std_keras.research.sweeps import spec as specs
from tests.research.sweeps.studies import change, read


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


def test_a_seed_in_one_arm_shows_all_its_values(sweep, spec, tmp_path):
    change(spec, "--alpha=0.25", "--alpha=0.{seed}5 --crop_twice")
    assert sweep() == 0
    page = (tmp_path / "out.md").read_text()
    columns, _, baseline, weak = page.partition("## What differs")[2].split("\n\n")[2].splitlines()
    names = [cell.strip(" `") for cell in columns.split("|")]
    of_weak = dict(zip(names, (cell.strip() for cell in weak.split("|")), strict=True))
    of_baseline = dict(zip(names, (cell.strip() for cell in baseline.split("|")), strict=True))
    assert of_weak["--alpha"] == "`0.05`, `0.25`"
    assert of_weak["--crop_twice"] == "`yes`"
    assert of_baseline["--alpha"] == ""


def test_a_seed_that_is_the_default_once(sweep, spec, tmp_path):
    change(spec, "--alpha=0.25", "--alpha=0.25 --data_seed={seed}")
    assert sweep() == 0
    assert "| default, `2` |" in (tmp_path / "out.md").read_text()


def test_a_seed_on_the_command_line_is_refused(sweep, tmp_path, capsys):
    assert sweep("--extra_flags=--data_seed={seed}") == 2
    assert "{seed} is understood in the sweep's file only" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


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
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core")
    monkeypatch.setenv("FAKE_SEED_WEIGHT", "0")
    change(spec, "--alpha=0.25", "--alpha=0.25 --width=98")
    change(spec, "--flagfile=base.flags", "--flagfile=base.flags --data_seed={seed}")
    assert sweep("--parallel=2", "--only=weak") == 0
    error = capsys.readouterr().err
    assert error.count("the same run") == 1
    assert "{seed} into its flags" not in error  # It is there.
