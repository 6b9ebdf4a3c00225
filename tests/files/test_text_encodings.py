"""Text that is not plain UTF-8: what people's editors and terminals make of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import std_keras
from std_keras.errors import InputError
from std_keras.files import texts
from std_keras.programs import flagfiles
from std_keras.research.sweeps import spec
from std_keras.runs.run_directory import RunDirectory, write_atomically
from std_keras.teachers.teacher import check_labels
from std_keras.training import cluster
from std_keras.weights.run import read_label_names

ROOT = Path(std_keras.__path__[0]).parent
BOM = b"\xef\xbb\xbf"
NFC, NFD = "caf\u00e9", "cafe\u0301"


def test_label_names_without_the_byte_order_mark(tmp_path):
    (tmp_path / "labels.txt").write_bytes(BOM + b"ant\r\nbee\r\n")
    assert RunDirectory(tmp_path).read_labels() == ("ant", "bee")
    assert read_label_names(tmp_path / "labels.txt", num_classes=2) == ("ant", "bee")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_texts_of_all_systems(tmp_path, encoding, end):
    """A Windows shell writes UTF-16: `ls > labels.txt`."""
    path = tmp_path / "labels.txt"
    path.write_bytes(end.join(["--epochs=7", NFC, ""]).encode(encoding))
    assert texts.read_text(path) == f"--epochs=7\n{NFC}\n"
    assert RunDirectory(tmp_path).read_labels() == ("--epochs=7", NFC)
    assert read_label_names(path, num_classes=2) == ("--epochs=7", NFC)
    path.write_bytes(end.join(["--epochs=7", "--seed=2", ""]).encode(encoding))
    assert flagfiles.expand([f"--flagfile={path}"], repeated=()) == ["--epochs=7", "--seed=2"]


@pytest.mark.parametrize("content", ["caf\u00e9\n".encode("latin-1"), b"\xff\xfea", b"\xff"])
def test_other_texts_are_refused(tmp_path, content):
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        RunDirectory(tmp_path).read_labels()
    with pytest.raises(InputError, match="cannot be read as text"):
        read_label_names(tmp_path / "labels.txt", num_classes=1)


def test_empty_lines_at_the_end_name_no_classes(tmp_path):
    (tmp_path / "names.txt").write_text("ant\nbee\n\n \n")
    assert read_label_names(tmp_path / "names.txt", num_classes=2) == ("ant", "bee")
    with pytest.raises(InputError, match="has 4 lines, the model has 5"):
        read_label_names(tmp_path / "names.txt", num_classes=5)


def test_a_cluster_with_a_byte_order_mark():
    text = json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}})
    assert cluster.parse("\ufeff" + text) == cluster.parse(text)
    with pytest.raises(InputError, match="not valid JSON"):
        cluster.parse("[" * 100_000)


def test_a_configuration_that_an_editor_saved(tmp_path):
    (tmp_path / "config.json").write_bytes(BOM + b'{"epochs": 7}')
    assert RunDirectory(tmp_path).read_config().optimization.epochs == 7


def test_a_sweep_with_a_byte_order_mark(tmp_path):
    shipped = ROOT / "flags" / "sweeps" / "cifar100_cpu_recipe.toml"
    content = shipped.read_bytes()
    marked = tmp_path / "copy.toml"
    marked.write_bytes(BOM + content.replace(b"../", f"{shipped.parent.parent}/".encode()))
    assert spec.read(marked).seeds == spec.read(shipped).seeds


def test_the_same_name_in_two_spellings_is_one_name():
    check_labels(name="t", num_classes=2, label_names=("a", NFD), wanted=("a", NFC))
    with pytest.raises(InputError, match="names class 1 'cafe'"):
        check_labels(name="t", num_classes=2, label_names=("a", "cafe"), wanted=("a", NFC))


def test_pages_name_files_that_are_not_utf8(tmp_path):
    write_atomically(tmp_path / "page.md", os.fsdecode(b"caf\xe9"))
    assert (tmp_path / "page.md").read_text() == r"caf\udce9"


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "C.UTF-8"},
    ],
)
def test_a_terminal_that_cannot_show_a_name_is_no_reason_to_fail(environment):
    script = (
        "import sys\n"
        "from std_keras.programs import program\n"
        "def main(arguments, stop):\n"
        "    print(chr(0x6570), chr(0xe9), chr(0xdce9))\n"
        "    raise program.InputError('no picture ' + chr(0x6570) + chr(0xdce9))\n"
        "sys.exit(program.run(main))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        env={"PATH": "", "PYTHONPATH": str(ROOT), **environment},
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stdout.endswith(b"\\udce9\n")
    assert done.stderr.startswith(b"error: no picture ")
