"""The commands as functions: one walk in Python, and what importing the package loads."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import std_keras
from std_keras.data import load
from std_keras.errors import InputError
from tests.training.tiny import as_python

FUNCTIONS = sorted(name for name in std_keras._NAMES if name not in ("Run", "TrainConfig"))
TINY = {
    "dataset": "digits",
    "model": "mixer_s16",
    "patch_size": 4,
    "width": 16,
    "depth": 2,
    "batch_size": 48,
    "max_train_examples": 96,
    "max_test_examples": 60,
    "learning_rate": 0.01,
    "log_every_steps": 1,
    "epochs": 2,
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    config = std_keras.TrainConfig(**TINY)
    with as_python():
        return std_keras.train(config, model_dir=tmp_path_factory.mktemp("runs") / "teacher")


@pytest.fixture(scope="module")
def student(teacher, tmp_path_factory):
    config = std_keras.TrainConfig(**TINY, distillation="hard", teacher=(f"{teacher},site=last",))
    with as_python():
        return std_keras.train(config, model_dir=tmp_path_factory.mktemp("runs") / "student")


def test_from_a_teacher_to_a_classified_picture(student, tmp_path, capfd):
    found = std_keras.evaluate(student, head="classification", batch_size=60)
    assert found.examples == 60
    assert found.top1 == student.result["heads"]["classification"]["top1"]
    assert set(found.heads) == set(student.result["heads"])
    assert json.loads(json.dumps(found.as_dict()))["heads"]["average"]["top1"] >= 0

    report = std_keras.export(
        student, output_dir=tmp_path / "out", quantizations=["float32"], verify_examples=20
    )
    assert report.as_dict() == json.loads((tmp_path / "out" / "report.json").read_text())
    assert report.file("float32") == tmp_path / "out" / "student_float32.tflite"
    assert report.tflite["float32"].accuracy_drop == 0

    pixels = load("digits").test.take()[0][0, ..., 0]
    Image.fromarray(pixels).save(tmp_path / "digit.png")
    given = [tmp_path / "digit.png", Image.fromarray(pixels)]
    from_file, from_memory = std_keras.classify(given, model=report.file("float32"), top_k=3)
    assert from_file.predictions == from_memory.predictions
    assert len(from_file.predictions) == 3
    logits = student.model()(pixels[np.newaxis, ..., np.newaxis])
    best = from_file.predictions[0]
    assert best.label == student.labels[int(np.argmax(logits))]
    assert best.logit == pytest.approx(float(np.max(logits)), abs=1e-3)

    printed = capfd.readouterr()
    assert printed.out == ""


def test_a_call_that_cannot_be_names_the_argument(student, tmp_path):
    for call, message in (
        (lambda: std_keras.evaluate(student, head="tail"), "^head=tail: "),
        (lambda: std_keras.evaluate(student, split="dev"), "^split=dev must be one of train"),
        (
            lambda: std_keras.evaluate(student, split="validation"),
            "^split=validation: .*fraction=0",
        ),
        (lambda: std_keras.evaluate(student, batch_size=0), "^batch_size=0 must be at least 1"),
        (lambda: std_keras.evaluate(tmp_path / "no"), "^model_dir=.*no: there is no such"),
        (lambda: std_keras.export(student, output_dir=__file__), "^output_dir=.*is a file"),
        (
            lambda: std_keras.export(student, output_dir=tmp_path, quantizations=("int2",)),
            "^quantizations=int2: 'int2' is not one of float32",
        ),
        (
            lambda: std_keras.export(student, output_dir=tmp_path, max_accuracy_drop=2),
            "^max_accuracy_drop=2 must be a fraction",
        ),
        (lambda: std_keras.classify("x.png", model="no.tflite"), "^no.tflite cannot be read"),
        (
            lambda: std_keras.classify("x.png", model="no.tflite", top_k=0),
            "^top_k=0 must be at least 1",
        ),
    ):
        with pytest.raises(InputError, match=message):
            call()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_everything_but_the_subject_is_named(name):
    parameters = list(inspect.signature(getattr(std_keras, name)).parameters.values())
    assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in parameters[1:])
    assert inspect.getdoc(getattr(std_keras, name))


def test_what_the_package_promises_is_there():
    assert sorted(std_keras.__all__) == sorted(
        {"__version__", *std_keras._NAMES, *std_keras._PARTS}
    )
    assert dir(std_keras) == sorted(std_keras.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = std_keras.nothing


def python(script: str, root) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_configuration_and_a_run_need_no_tensorflow(root, student):
    script = f"""
import sys, std_keras
assert callable(std_keras.train) and callable(std_keras.evaluate) and callable(std_keras.export)
run = std_keras.Run({str(student)!r})
print(run.config.model.name, len(run.metrics()) > 2, run.labels[3], run)
try:
    std_keras.export(run, output_dir={str(student.path / "config.json")!r})
except ValueError as error:
    print(str(error)[:11])
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
"""
    lines = python(script, root).splitlines()
    assert lines == [f"mixer_s16 True 3 {student}", "output_dir="]


def test_the_modules_of_the_old_commands_are_functions_too(root):
    """`import std_keras.train` sets the attribute `train`, which must still be the function."""
    names = ("train", "evaluate", "export", "classify")
    script = f"""
import importlib, inspect, std_keras
for name in {names}:
    function = getattr(std_keras, name)
    assert inspect.isfunction(function)
    importlib.import_module("std_keras." + name)
    module = getattr(std_keras, name)
    assert module is not function and callable(module.console)
    assert inspect.signature(module) == inspect.signature(function)
    try:
        module(nonsense=1)
    except TypeError as error:
        print(error)
"""
    printed = python(script, root).splitlines()
    assert len(printed) == len(names)
    for name, line in zip(names, printed, strict=True):
        assert f"{name}() got an unexpected keyword argument 'nonsense'" in line
