"""A folder is replaced as a whole, or stays what it was."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from std_keras.files.replaced_folder import replaced_folder


def fill(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "a").write_text(text)


@pytest.fixture
def folder(tmp_path):
    fill(tmp_path / "made", "old")
    return tmp_path / "made"


def test_a_new_one(tmp_path):
    with replaced_folder(tmp_path / "made") as part:
        fill(part, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["made"]
    assert (tmp_path / "made" / "a").read_text() == "new"


def test_one_that_is_there(folder):
    with replaced_folder(folder) as part:
        fill(part, "new")
        assert (folder / "a").read_text() == "old", "until the end"
    assert [p.name for p in folder.parent.iterdir()] == ["made"]
    assert (folder / "a").read_text() == "new"


def test_an_error_leaves_the_former_one(folder):
    with pytest.raises(ZeroDivisionError), replaced_folder(folder) as part:
        fill(part, "new")
        raise ZeroDivisionError
    assert [p.name for p in folder.parent.iterdir()] == ["made"]
    assert (folder / "a").read_text() == "old"


def test_a_rename_that_fails_leaves_the_former_one(folder, monkeypatch):
    def rename(self, target):
        if self.name.endswith(".part"):
            raise OSError(errno.EIO, "broken")
        os.rename(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="broken"), replaced_folder(folder) as part:
        fill(part, "new")
    assert [p.name for p in folder.parent.iterdir()] == ["made"]
    assert (folder / "a").read_text() == "old"


def test_a_process_that_is_killed_between_the_renames(folder, root):
    script = (
        "import os, sys; from pathlib import Path\n"
        "from std_keras.files.replaced_folder import replaced_folder\n"
        "def rename(self, target):\n"
        "    if self.name.endswith('.part'): os.kill(os.getpid(), 9)\n"
        "    os.rename(self, target)\n"
        "Path.rename = rename\n"
        "with replaced_folder(Path(sys.argv[1])) as part: part.mkdir()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(root)}
    killed = subprocess.run([sys.executable, "-c", script, str(folder)], env=environment)
    assert killed.returncode == -9 and not folder.exists()
    with pytest.raises(ZeroDivisionError), replaced_folder(folder):
        raise ZeroDivisionError
    assert [p.name for p in folder.parent.iterdir()] == ["made"]
    assert (folder / "a").read_text() == "old"
