"""What XLA compiled is found again by the next process, and by nobody whom it does not fit."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf

from std_keras import xla_cache
from std_keras.errors import MachineError
from std_keras.programs.program import machine_error
from std_keras.training.checks import refuse_damaged_data

# Compiles one function, after as many tensors as the argument says; prints its value.
_PROGRAM = """
import sys
from std_keras import quiet, xla_cache
quiet.load_tensorflow()
import tensorflow as tf

for number in range(int(sys.argv[1])):
    tf.constant(number)

def product(x):
    return tf.reduce_sum(tf.nn.gelu(x) * tf.nn.softmax(x))

print(xla_cache.compiled(product)(tf.linspace(-3.0, 3.0, 1000)).numpy().tobytes().hex())
"""


def run_compiled(root, home, tensors: int, **environment: str) -> str:
    """What the program prints."""
    given = {k: v for k, v in os.environ.items() if k not in (xla_cache.CHOICE, "XLA_FLAGS")}
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tensors)],
        cwd=root,
        env={**given, "XDG_CACHE_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    ).stdout


def programs(home):
    """The files of compiled programs, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in home.glob("std_keras/xla/*/*.pb")}


@pytest.mark.skipif(xla_cache._has_gpu(), reason="nothing is kept where there is a GPU")
def test_a_second_process_compiles_nothing(root, tmp_path):
    tmp_path = tmp_path / "a home with spaces"
    first = run_compiled(root, tmp_path, 0)
    kept = programs(tmp_path)
    assert len(kept) == 1
    # Whatever it made before.
    assert run_compiled(root, tmp_path, 321) == first
    assert programs(tmp_path) == kept
    # A file that is cut off would end the process.
    (path,) = kept
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert run_compiled(root, tmp_path, 0) == first
    assert xla_cache._is_whole(path) and path.stat().st_size > len(whole) // 2
    # Other options of XLA compile another program.
    run_compiled(root, tmp_path, 0, XLA_FLAGS="--xla_cpu_enable_fast_math=true")
    assert len(programs(tmp_path)) == 2


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Where programs are kept; nothing is chosen yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(xla_cache.CHOICE, "")
    monkeypatch.setattr(xla_cache, "_has_gpu", lambda: False)
    return tmp_path / "std_keras" / "xla"


def folder() -> str:
    """The one that was chosen; empty if none was."""
    return os.environ.get(xla_cache.CHOICE, "").rpartition("=")[2].strip("'")


def test_it_is_of_this_user_alone(home):
    xla_cache.choose()
    assert folder().startswith(f"{home}{os.sep}")
    assert os.stat(folder()).st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "said",
    [
        "--tf_xla_persistent_cache_directory=",
        "--tf_xla_persistent_cache_directory=/elsewhere",
        "/a/file/of/flags",
    ],
)
def test_what_the_user_named_stays(said, home, monkeypatch):
    monkeypatch.setenv(xla_cache.CHOICE, said)
    xla_cache.choose()
    assert os.environ[xla_cache.CHOICE] == said
    assert not home.exists()


def test_other_flags_of_the_user_stay(home, monkeypatch):
    monkeypatch.setenv(xla_cache.CHOICE, "--tf_xla_clustering_debug")
    xla_cache.choose()
    assert os.environ[xla_cache.CHOICE].startswith("--tf_xla_clustering_debug --tf_xla_persistent")


def test_another_processor_has_another_folder(home, monkeypatch):
    folders = set()
    for machine in ("flags: avx2, 2 cores", "flags: avx2, 4 cores", "flags: avx512f, 2 cores"):
        monkeypatch.setattr(xla_cache, "_machine", lambda machine=machine: machine)
        monkeypatch.setenv(xla_cache.CHOICE, "")
        xla_cache.choose()
        folders.add(folder())
    assert len(folders) == 3


def test_the_processor_and_its_cores_are_told():
    told = xla_cache._machine()
    assert str(len(os.sched_getaffinity(0))) in told.splitlines()
    assert any(line.startswith(("flags", "Features")) for line in told.splitlines())


def test_none_where_it_cannot_be_kept(home, monkeypatch):
    def nothing_is_chosen():
        xla_cache.choose()
        return folder() == ""

    disk = SimpleNamespace(total=10**12, used=10**12, free=10**8)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: disk)
        assert nothing_is_chosen()
    with monkeypatch.context() as gpu:
        gpu.setattr(xla_cache, "_has_gpu", lambda: True)
        assert nothing_is_chosen()
    with monkeypatch.context() as unknown:
        unknown.setattr(xla_cache, "_machine", lambda: None)
        assert nothing_is_chosen()
    shutil.rmtree(home)
    home.write_text("a file")
    assert nothing_is_chosen()


def test_none_where_code_may_be_anothers(home, monkeypatch):
    xla_cache.choose()
    own = Path(folder())
    assert own.is_dir()
    own.chmod(0o777)
    xla_cache.choose()
    assert folder() == ""
    own.chmod(0o700)
    (own / "a folder.pb").mkdir()
    xla_cache.choose()
    assert folder() == ""
    (own / "a folder.pb").rmdir()
    with monkeypatch.context() as another:
        another.setattr(os, "geteuid", lambda: os.getuid() + 1)
        xla_cache.choose()
        assert folder() == ""
    xla_cache.choose()
    assert folder() == str(own)


def test_none_where_no_file_can_be_made(home, monkeypatch):
    def no_inodes(path, content):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(Path, "write_bytes", no_inodes)
    xla_cache.choose()
    assert folder() == ""


def test_a_child_chooses_anew(home, monkeypatch):
    xla_cache.choose()
    first = folder()
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    xla_cache.choose()
    assert folder() not in ("", first)


def test_an_error_of_the_cache_is_told_from_others():
    text = "Graph execution error:\n/x/xla_compile_cache__1__2__CPU.pb; No space left on device"
    error = tf.errors.DataLossError(None, None, text)
    assert isinstance(machine_error(error), MachineError)
    assert "what XLA compiled" in str(machine_error(error))
    no_data: Any = None
    refuse_damaged_data(no_data, error)  # It says nothing of the data.
    assert xla_cache.error_of(tf.errors.DataLossError(None, None, "a record")) is None


def test_old_and_damaged_files_go(home, monkeypatch):
    monkeypatch.setattr(xla_cache, "_MOST_BYTES", 5000)
    (home / "key").mkdir(parents=True)
    message = tf.compat.v1.NodeDef(name="n" * 2000).SerializeToString()
    day = 24 * 3600

    def write(name, content, age):
        path = home / "key" / name
        path.write_bytes(content)
        os.utime(path, (time.time() - age,) * 2)
        return path

    new, old, older = (write(f"{age}.pb", message, age) for age in (0, day, 2 * day))
    cut, empty = write("cut.pb", message[:-1], 0), write("empty.pb", b"", 0)
    zeros = write("zeros.pb", bytes(100), 0)
    written, left = write("a.pb.tmp1", b"", 0), write("b.pb.tmp2", b"", 2 * day)
    xla_cache.choose()
    assert new.exists() and old.exists() and written.exists()
    for path in (older, cut, empty, zeros, left):
        assert not path.exists(), path.name


def test_messages_are_whole_at_ends_of_fields_only(tmp_path):
    node = tf.compat.v1.NodeDef(name="name", op="op", input=["a" * 300, "b"])
    message, path = node.SerializeToString(), tmp_path / "message"
    ends = set()
    for end in range(len(message) + 1):
        path.write_bytes(message[:end])
        if xla_cache._is_whole(path):
            ends.add(end)
    # name, op, and two inputs: a tag and a length before each, which takes two bytes above 127.
    assert ends == {6, 10, 10 + 303, 10 + 303 + 3}
