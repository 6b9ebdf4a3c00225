"""What a sweep keeps of its runs, and what it does not do again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

from std_keras.config import TrainConfig, resolve, with_model_of
from std_keras.research.sweeps import plan, record
from std_keras.runs.run_directory import RunDirectory
from tests.research.sweeps.studies import change, read, starts
from tests.results import result


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


def test_a_start_gives_the_options_that_were_not_asked_for(tmp_path):
    """A run that took its width from the run it started from has the flags that it was told."""
    asked = TrainConfig(dataset="digits", initialize_from="x")
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    trained = resolve(
        with_model_of(asked, TrainConfig(width=8).model), image_size=8, horizontal_flip=False
    )
    directory.write_start(trained, label_names=("a",), architecture="{}")
    directory.write_result(result())
    run = plan.Run("teacher-x", 0, asked, directory.path, tmp_path / "files")
    assert record.flags_that_differ(run) == []
    other = plan.Run("teacher-x", 0, asked.replace(width=9), directory.path, tmp_path / "files")
    assert record.flags_that_differ(other) == ["width=8, now 9"]
