"""Packages that are not there: every way in ends with the command that brings them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image

from std_keras import data, teachers
from std_keras.errors import InputError
from std_keras.extras import EXTRAS, imported, install, unusable
from std_keras.files import picture_file
from std_keras.research.studies import figures
from std_keras.weights import hub
from tests.runtimes.networks import write_linear

ROOT = Path(__file__).parent.parent
# By the name under which it is imported; these have another one in a registry.
DISTRIBUTIONS = {"keras_hub": "keras-hub", "pillow_heif": "pillow-heif"}
ASSUMED = {  # What the checks of a data set or a teacher need besides.
    "image_shape": (8, 8, 3),
    "label_names": tuple("0123456789"),
}


def without(monkeypatch, package):
    """An environment in which a package is not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


def teacher(source):
    teachers.load(teachers.parse(source), **ASSUMED)


def test_the_extras_are_those_of_the_project():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for package, extra in EXTRAS.items():
        name = DISTRIBUTIONS.get(package, package)
        assert any(
            line.startswith((f"{name}>", f"{name}="))
            for line in declared["optional-dependencies"][extra]
        ), package
    # Nobody reads documentation by a command of the package.
    assert set(declared["optional-dependencies"]) - {"docs"} == set(EXTRAS.values())


def test_no_optional_package_is_needed_to_import_a_module():
    """One that is imported outside of a function would end every command with a traceback."""
    allowed = {"figures.py"}  # It catches that.
    for file in sorted((ROOT / "std_keras").rglob("*.py")):
        tree = ast.parse(file.read_text())
        for node in tree.body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            found = {name.partition(".")[0] for name in names} & (set(EXTRAS) | {"torch"})
            assert not found or file.name in allowed, file


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("huggingface_hub", "hf-hub:ours/model"),
        ("huggingface_hub", "hf://ours/model,input=unit"),
        ("huggingface_hub", "keras_hub:hf://ours/model"),
        ("huggingface_hub", "keras_cv:hf://ours/model"),
        ("keras_hub", "keras_hub:resnet_50_imagenet"),
        ("onnx", "FILE,input=unit"),
    ],
)
def test_a_teacher(tmp_path, monkeypatch, package, source):
    source = source.replace("FILE", str(write_linear(tmp_path / "t.onnx")))
    without(monkeypatch, package)
    with pytest.raises(InputError) as info:
        teachers.identity.identity(teachers.parse(source))
        teacher(source)
    assert str(info.value) == (
        f"teacher={source.partition(',')[0]} needs the package {package}, which is missing: "
        f"{install(package)}"
    )


def test_the_runtime_of_onnx_files(tmp_path, monkeypatch):
    """It is loaded in a process of its own first, which must be told, too."""
    path = write_linear(tmp_path / "t.onnx")
    (tmp_path / "onnxruntime.py").write_text("raise ModuleNotFoundError(name='onnxruntime')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"onnxruntime, which is missing: .*std_keras\[onnx\]'$"):
        teacher(f"{path},input=unit")


@pytest.mark.parametrize(("package", "source"), [("pyarrow", "parquet:x"), ("datasets", "hf:a/b")])
def test_a_data_set(monkeypatch, package, source):
    without(monkeypatch, package)
    with pytest.raises(InputError) as info:
        data.load(source, image_size=8)
    assert str(info.value) == (
        f"dataset={source} needs the package {package}, which is missing: {install(package)}"
    )


def test_weights_of_the_hub(monkeypatch):
    without(monkeypatch, "huggingface_hub")
    with pytest.raises(InputError, match=r"pip install 'std_keras\[hub\]'$"):
        hub.find("hf-hub:ours/model")


def test_pictures(monkeypatch):
    monkeypatch.setattr(figures, "_UNUSABLE", ModuleNotFoundError(name="matplotlib"))
    with pytest.raises(InputError, match=r"matplotlib, which is missing: .*std_keras\[analysis\]'"):
        figures.require()


def test_a_package_that_lacks_another_one():
    error = ModuleNotFoundError(name="pyarrow.lib")
    assert "datasets, which does not work without pyarrow: pip" in unusable(
        "datasets", error, needed_by="x"
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "raise ImportError('libx.so.1: cannot open', name='onnxruntime')",
            "libx.so.1: cannot open",
        ),
        ("raise ValueError('numpy.dtype size changed')", "numpy.dtype size changed"),
        ("import onnxruntime.lost", "No module named 'onnxruntime.lost'"),
        ("raise ImportError('two\\nlines')", "two lines"),
        ("raise RuntimeError", "RuntimeError"),
    ],
)
def test_a_package_that_is_there_but_broken(tmp_path, monkeypatch, body, said):
    """It says so itself; to install what is there is no help."""
    without(monkeypatch, "onnxruntime")
    monkeypatch.delitem(sys.modules, "onnxruntime")
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text(body)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError) as info:
        imported("onnxruntime", needed_by="x")
    told = str(info.value)
    assert told.startswith(
        "x needs the package onnxruntime, which is there but cannot be imported ("
    )
    assert said in told and "missing" not in told
    assert told.endswith("install it anew: pip install --force-reinstall --no-deps onnxruntime")


@pytest.mark.parametrize("module", ["datasets", "datasets.naming"])
def test_a_folder_of_pictures_is_not_the_package_of_its_name(tmp_path, monkeypatch, module):
    """Python takes any folder in the working directory for a package that it does not find."""
    without(monkeypatch, "datasets")
    monkeypatch.delitem(sys.modules, "datasets")
    (tmp_path / "datasets").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(InputError, match=r"datasets, which is missing: .*std_keras\[datasets\]'$"):
        imported(module, needed_by="x")
    monkeypatch.delitem(sys.modules, "datasets", raising=False)


def test_a_package_of_no_extra(monkeypatch):
    without(monkeypatch, "pandas")
    with pytest.raises(InputError, match="^x needs the package pandas, .*: pip install pandas$"):
        imported("pandas", needed_by="x")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ModuleNotFoundError(name='pillow_heif')", "which is missing: pip install"),
        ("raise OSError('libheif is too old')", "cannot be imported (libheif is too old)"),
    ],
)
def test_pictures_of_iphones(tmp_path, monkeypatch, body, said):
    """Other pictures are read as if nothing were wrong."""
    without(monkeypatch, "pillow_heif")
    monkeypatch.delitem(sys.modules, "pillow_heif")
    Image.init()  # Now: it fills the tables once.
    others = {name: how for name, how in Image.OPEN.items() if name != "HEIF"}
    monkeypatch.setattr(Image, "OPEN", others)
    (tmp_path / "pillow_heif.py").write_text(body)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert said in picture_file.advice([".heic"])
    assert picture_file.advice([".png"]) == ""
    assert ".png" in picture_file.extensions() and ".heic" not in picture_file.extensions()


def test_a_package_that_is_there():
    assert imported("onnx", needed_by="x").TensorProto is TensorProto


def test_from_the_command_line(tmp_path):
    """Of all packages at once, so that no other one is needed on the way to the sentence."""
    for package in EXTRAS:
        (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError(name={package!r})")
    np.savetxt(tmp_path / "t.onnx", [1])
    done = subprocess.run(
        [
            *(sys.executable, "-m", "std_keras", "check-teacher", "--dataset=digits"),
            f"--teacher={tmp_path / 't.onnx'},input=unit",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"error: --teacher={tmp_path / 't.onnx'} needs the package onnx, which is missing: "
        "pip install 'std_keras[onnx]'"
    )
