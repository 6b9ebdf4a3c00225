"""What the file of a sweep may say."""

from __future__ import annotations

import pytest

from std_keras.research.sweeps import plan
from std_keras.research.sweeps import spec as specs
from tests.research.sweeps.studies import change


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
