"""What a measurement says about where it was made."""

from __future__ import annotations

import importlib
import subprocess

import pytest


@pytest.fixture
def machine(root, monkeypatch):
    return importlib.import_module("std_keras.runs.machine")


@pytest.fixture
def checkout(tmp_path):
    def git(*arguments):
        name = ("-c", "user.name=n", "-c", "user.email=e")
        command = ["git", "-C", str(tmp_path), *name, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "results").mkdir()
    for file in ("code.py", "results/table.csv"):
        (tmp_path / file).write_text("1\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    return tmp_path, git("rev-parse", "HEAD")


def test_what_a_measurement_writes_is_no_change(machine, checkout):
    folder, commit = checkout
    (folder / "results" / "table.csv").write_text("2\n")
    (folder / "new.log").write_text("x")
    assert machine.git_revision(folder) == commit[:12]
    (folder / "code.py").write_text("2\n")
    assert machine.git_revision(folder) == f"{commit[:12]}-changed"
    assert machine.git_revision(folder / "results") == f"{commit[:12]}-changed", "from below too"


def test_without_git(machine, tmp_path):
    assert machine.git_revision(tmp_path) == ""


def test_facts(machine, root):
    facts = machine.describe(root)
    assert facts["processor"] and int(facts["cores"]) >= 1 and facts["keras"].startswith("3.")
