"""Teachers of a sweep in folders with commas in their names, made or still to be made."""

from __future__ import annotations

import pytest

from std_keras.errors import InputError
from std_keras.programs import flag_names
from std_keras.research.sweeps import plan, record, runner, spec


@pytest.fixture(params=["made", "planned"])
def folder(request, tmp_path):
    folder = tmp_path / "lr=0.1,0.2"
    if request.param == "made":
        folder.mkdir()
    return folder


def test_an_arm_needs_and_waits_for_its_teacher(folder, tmp_path):
    file = tmp_path / "s.toml"
    file.write_text(
        f"""
        seeds = [0]
        [teachers]
        big = "--model_dir='{folder}'"
        [arms]
        alone = ""
        taught = "--distillation=soft --teacher={{big}},site=both"
        """
    )
    runs = plan.runs(spec.read(file), plan.Choices(runs_dir=tmp_path))
    teacher, alone, taught = runs
    assert [run.name for run in runs] == ["teacher-big", "alone seed 0", "taught seed 0"]
    assert (teacher.model_dir, taught.teachers, alone.teachers) == (folder, ("big",), ())
    assert plan.next_ready([taught, alone], running=[teacher]) is alone
    assert plan.next_ready([taught], running=[]) is taught


def test_arguments_are_shown_as_flags_of_the_sweep_and_of_its_runs(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text('seeds = [0]\narms = {a = ""}')
    flag_names.know(["runs_dir", "parallel", "only"])
    messages = []
    try:
        (run,) = plan.runs(spec.read(file), plan.Choices(runs_dir=tmp_path))
        other = {**run.config.flat(), "batch_size": 7}
        record.write(run, record.Record(config=other))
        for call in (
            lambda: record.read(run),
            lambda: runner.shares(10**6),
            lambda: plan.runs(spec.read(file), plan.Choices(runs_dir=tmp_path, only=("b",))),
        ):
            with pytest.raises(InputError) as caught:
                call()
            messages.append(flag_names.as_flags(str(caught.value)))
    finally:
        flag_names.know(())
    assert "--batch_size=7" in messages[0] and messages[0].endswith("choose another --runs_dir")
    assert messages[1].startswith("--parallel=1000000 is more")
    assert messages[2].startswith("--only=b is not an arm")
