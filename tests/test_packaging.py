"""The wheel holds what a user needs, and the two lists of dependencies are one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import std_keras


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


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Runs a console command of the installed wheel in a folder; nothing of the checkout is near.

    The environment is new and has the wheel alone; what the wheel requires is found where the
    tests found it, so that nothing is downloaded.
    """
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (Path(site) / "required.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ("install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, *install, wheel],
        check=True,
        capture_output=True,
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["PATH"] = f"{place / 'bin'}{os.pathsep}{environment['PATH']}"

    def run(folder, name, *arguments):
        return subprocess.run(
            [place / "bin" / name, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


def test_wheel_contents(root, wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (n for n in names if n.endswith("entry_points.txt"))
        scripts = archive.read(entry_points).decode()
    assert "std_keras/py.typed" in names
    modules = {str(path.relative_to(root)) for path in (root / "std_keras").rglob("*.py")}
    assert modules <= names
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


# TensorFlow is loaded once for all of them.
COMMANDS = """
import json, sys
from std_keras.programs import program
from std_keras.programs.main import main

for sys.argv[1:] in json.loads(sys.argv[1]):
    assert program.run(main) == 0
"""


def test_the_walk_of_an_installed_user(installed, tmp_path):
    """Digits, a teacher, its student, files for a phone, their answer, a page: commands alone."""

    def successful(done):
        assert done.returncode == 0, done.stderr
        return done.stdout

    short = ("--epochs=1", "--warmup_epochs=0", "--batch_size=32", "--ema_decay=0")
    short += ("--max_train_examples=96", "--max_test_examples=40")
    small = ("--width=16", "--depth=2")
    teacher = ("train", "--flagfile=digits_resnet20.flags", *short, "--depth=8")
    successful(installed(tmp_path, "std-keras", *teacher, "--model_dir=runs/teacher"))
    student = ("--distillation=hard", "--teacher=runs/teacher,site=last", *small)
    Image.new("L", (8, 8), 128).save(tmp_path / "picture.png")
    commands = (
        ("train", "--flagfile=digits_mixer.flags", *short, *student, "--model_dir=runs/student"),
        ("evaluate", "--model_dir=runs/student"),
        ("export", "--model_dir=runs/student", "--output_dir=files", "--quantization=float32"),
        ("report", "runs/teacher", "runs/student", "--output_dir=page", "--samples=2"),
    )
    said = successful(installed(tmp_path, "python", "-c", COMMANDS, json.dumps(commands)))
    found, _ = json.JSONDecoder().raw_decode(said)
    assert found["top1"] == json.loads((tmp_path / "runs/student/result.json").read_text())["top1"]
    classify = ("classify", "--model=files/student_float32.tflite", "--json", "picture.png")
    (line,) = successful(installed(tmp_path, "std-keras", *classify)).splitlines()
    assert [p["label"] in set("0123456789") for p in json.loads(line)["predictions"]] == [True] * 5
    assert (tmp_path / "page" / "report.html").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"files", "page", "picture.png", "runs"}


def test_installed_commands_start_installed_commands(installed, tmp_path):
    """A cluster and a sweep, of trainings that end at once for want of data."""
    launched = installed(
        tmp_path,
        "std-keras",
        *("launch", "--workers=1", "--model_dir=run", "--dataset=folder:/nowhere"),
        "--image_size=8",
    )
    assert launched.returncode == 2
    assert "/nowhere" in launched.stderr
    assert "worker 0 ended with exit code 2" in launched.stderr.splitlines()[-1]
    (tmp_path / "study.toml").write_text(
        'flags = "--dataset=folder:/nowhere --image_size=8"\nseeds = [0]\n'
        '[arms]\nonly = "--distillation=none"\n'
    )
    swept = installed(tmp_path, "std-keras", "sweep", "study.toml", "--output=out.csv")
    assert swept.returncode == 2
    assert "1 of 1 runs failed (only seed 0)" in swept.stderr and "/nowhere" in swept.stderr
    table = (tmp_path / "out.csv").read_text()
    assert table.startswith("# std-keras sweep study.toml --output=out.csv\n")
    assert f"std_keras {std_keras.__version__}" in table


def test_a_sweep_that_comes_with_the_package_is_found_by_name(installed, tmp_path):
    listed = installed(
        tmp_path, "std-keras", "sweep", "cifar100_cpu_study.toml", "--output=x.csv", "--dry_run"
    )
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.count("\nstd-keras train --dataset=cifar100 ") == 54
    assert list(tmp_path.iterdir()) == []


def test_the_four_old_names(installed, tmp_path):
    for program in ("train", "evaluate", "export", "classify"):
        done = installed(tmp_path, f"std-keras-{program}", "--help")
        assert done.returncode == 0, done.stderr
        assert f"Usage: std-keras {program} " in done.stdout
