"""Teachers of a sweep in folders with commas in their names, made or still to be made."""

from __future__ import annotations

import pytest

from std_keras.research.sweeps import plan, spec


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
