"""What is refused before it is read as a whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from std_keras.data import load
from std_keras.errors import InputError
from std_keras.exporting.classifying import Classifier
from std_keras.files import whole_file
from std_keras.files.whole_file import UnreadableWholeError, check_whole_file
from std_keras.runs.keras_file import load_keras_file
from std_keras.runtimes.declared import declared_shape
from std_keras.teachers.identity import identity
from std_keras.teachers.spec import parse
from std_keras.weights import read_source


def test_files_that_may_never_end(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(UnreadableWholeError, match="is a pipe, a device or a folder"):
            check_whole_file(path)
    with pytest.raises(FileNotFoundError):
        check_whole_file(tmp_path / "none")


def hole(path, size):
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def test_a_hole_that_is_larger_than_the_memory(tmp_path):
    memory = whole_file.machine_memory()
    with open("/proc/meminfo", encoding="ascii") as file:  # In KiB, on its first line.
        assert memory == int(file.readline().split()[1]) * 1024
    check_whole_file(hole(tmp_path / "half", memory // 2))
    size = memory // 2 + 1
    with pytest.raises(UnreadableWholeError, match=f"has {size:,} bytes, more than half"):
        check_whole_file(hole(tmp_path / "more", size))


@pytest.mark.parametrize(
    ("name", "read"),
    [
        *((f"w{ending}", read_source) for ending in (".pth", ".npz", ".safetensors")),
        ("t.keras", load_keras_file),
        *((name, lambda path: identity(parse(str(path)))) for name in ("t.keras", "t.tflite")),
        ("t.onnx", lambda path: declared_shape(path, name=f"teacher={path}")),
    ],
)
def test_whatever_reads_it_says_so(tmp_path, name, read):
    path = hole(tmp_path / name, 1 << 42)  # Hours to read.
    with pytest.raises(InputError, match=rf"{name}:? .*has 4,398,046,511,104 bytes, more than"):
        read(path)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("w.pth", read_source),
        ("w.tflite", Classifier),
        ("w.npz", lambda path: load(str(path))),
        ("w.parquet", lambda path: load(f"parquet:{path}", image_size=8)),
    ],
)
def test_a_pipe_is_not_waited_for(tmp_path, name, read):
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name} is a pipe, a device or a folder"):
        read(tmp_path / name)
