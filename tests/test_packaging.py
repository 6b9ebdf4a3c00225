"""The wheel holds what a user needs, and the two lists of dependencies are one."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile

import pytest


def test_dependencies_equal_requirements(root):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = [line.split("#")[0].strip() for line in lines]
    assert sorted(project["dependencies"]) == sorted(line for line in required if line)


def test_required_pins(root):
    text = (root / "requirements.txt").read_text(encoding="utf-8")
    for pin in (
        "tensorflow==2.21.*",
        "keras==3.15.*",
        "keras-cv==0.9.0",
        "tensorflow-datasets==4.9.10",
        "tensorboard==2.21.*",
        "importlib_resources",
    ):
        assert re.search(rf"^{re.escape(pin)}", text, re.MULTILINE)


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, root],
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_contents(root, wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (n for n in names if n.endswith("entry_points.txt"))
        scripts = archive.read(entry_points).decode()
    assert "std_keras/py.typed" in names
    shipped = {f"std_keras/flag_files/{path.name}" for path in (root / "flags").glob("*.flags")}
    assert shipped <= names
    assert "std-keras = std_keras.programs.main:console" in scripts
    for program in ("train", "evaluate", "export", "classify"):
        assert f"std-keras-{program} = std_keras.programs.{program}:console" in scripts


def test_installed_wheel_finds_its_flag_files(wheel, tmp_path):
    """Unpacked elsewhere, without the checkout beside it, as pip would leave it."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    script = (
        "from std_keras.programs import flagfiles;"
        "print(flagfiles.expand(['--flagfile=flags/digits_mixer.flags'], repeated=()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--dataset=digits" in done.stdout
