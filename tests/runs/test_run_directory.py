"""The run directory: its text files, and who may write to it."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from std_keras.config import TrainConfig
from std_keras.errors import InputError
from std_keras.runs import run_directory as rundir
from std_keras.runs.run_directory import RunDirectory, replace_atomically, write_atomically
from tests.results import result

LABELS = ("Katze", "Hündin", "a b", "0")


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "deep" / "run")
    run.prepare()
    yield run
    run.release()


def test_what_is_written_is_read(run):
    config = TrainConfig(epochs=3, teacher=("runs/a",))
    assert not run.exists()
    run.write_start(config, label_names=LABELS, architecture="{}", examples={"train": 7})
    assert run.exists()
    assert run.read_examples() == {"train": 7}
    assert run.read_config() == config
    assert run.read_labels() == LABELS
    assert run.architecture_file.read_text() == "{}"
    run.write_result(result(top1=0.25))
    assert run.read_result() == result(top1=0.25)


def test_config_json_comes_last_because_it_marks_a_run(run, monkeypatch):
    written = []
    monkeypatch.setattr(rundir, "write_atomically", lambda path, text: written.append(path.name))
    run.write_start(TrainConfig(), label_names=LABELS, architecture="{}", examples={"train": 7})
    assert written[-1] == "config.json" and len(written) == 4


def test_an_older_run_does_not_say_how_many_examples_it_had(run):
    run.write_start(TrainConfig(), label_names=LABELS, architecture="{}")
    assert run.read_examples() is None


def test_the_home_directory_is_understood(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunDirectory("~/run").path == tmp_path / "run"


# Damage


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "config.json cannot be read"),
        ("{", "config.json is damaged"),
        ("[1]", "does not hold a JSON object"),
        ('{"epoch": 1}', "unknown option epoch"),
        ('{"epochs": 0}', "epochs=0"),
    ],
)
def test_a_damaged_config(run, content, said):
    if content is not None:
        run.config_file.write_text(content)
    with pytest.raises(InputError) as info:
        run.read_config()
    assert said in str(info.value)
    assert str(run.path) in str(info.value)


def test_binary_rubbish_in_text_files(run):
    run.config_file.write_bytes(b"\xff\xfe\x00")
    run.labels_file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="config.json is damaged"):
        run.read_config()
    with pytest.raises(InputError, match="labels.txt is damaged"):
        run.read_labels()


def test_missing_labels_and_result(run):
    with pytest.raises(InputError, match="labels.txt cannot be read"):
        run.read_labels()
    with pytest.raises(InputError, match="result.json cannot be read"):
        run.read_result()


def test_a_result_that_lacks_figures(run):
    partial = {name: value for name, value in result().items() if name not in ("top5", "heads")}
    run.write_result(partial)
    with pytest.raises(InputError, match=r"result.json is damaged: it lacks top5, heads"):
        run.read_result()


# One writer at a time


def in_another_process(path: Path) -> str:
    script = (
        "import sys; from std_keras.runs.run_directory import RunDirectory\n"
        "try: RunDirectory(sys.argv[1]).prepare(); print('taken')\n"
        "except Exception as e: print(type(e).__name__, e)"
    )
    root = Path(rundir.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_directory_in_use_is_refused_until_it_is_released(run):
    with pytest.raises(InputError, match=f"model_dir={run.path} is in use by another process"):
        RunDirectory(run.path).prepare()
    assert in_another_process(run.path).startswith("InputError model_dir=")
    run.release()
    run.release()  # A second time it does nothing.
    assert in_another_process(run.path) == "taken"
    again = RunDirectory(run.path)
    again.prepare()  # The other process has ended, and its lock with it.
    again.release()


def test_a_refused_attempt_does_not_free_the_directory(run):
    for _ in range(2):
        with pytest.raises(InputError):
            RunDirectory(run.path).prepare()
        gc.collect()


@pytest.mark.parametrize("below", ["", "/run"])
def test_a_file_in_the_way(tmp_path, below):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"model_dir={tmp_path}/file{below} cannot be used"):
        RunDirectory(f"{tmp_path}/file{below}").prepare()


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.EROFS, InputError), (errno.EACCES, InputError), (errno.ENOSPC, OSError)],
)
def test_whose_fault_it_is(tmp_path, monkeypatch, number, expected):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(expected) as info:
        RunDirectory(tmp_path / "run").prepare()
    assert isinstance(info.value, InputError) == (expected is InputError)


# Whole files only


def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path):
    path = tmp_path / "model.keras"
    write_atomically(path, "old")

    def fail(part):
        assert part.parent == tmp_path and part.suffix == ".keras"
        part.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        replace_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "result.json"
    write_atomically(path, "old")
    seen = []

    def write(part):
        part.write_text("new")
        seen.append(path.read_text())

    replace_atomically(path, write)
    assert seen == ["old"]
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
