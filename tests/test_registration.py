"""`model.keras` in plain Keras: `import std_keras` is all it takes."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import std_keras
from std_keras import models
from std_keras.research.undistillable.skeptical_student import create_skeptical
from std_keras.training.build import dtype_policy
from tests.models import test_student_families as student_families
from tests.models import test_teacher_families as teacher_families

ROOT = Path(std_keras.__path__[0]).parent

LOADS = """
model = keras.saving.load_model(sys.argv[1])
import numpy as np
print(np.asarray(model(np.zeros((1, 8, 8, 1), "float32"))).tolist())
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A student's file, and what the student says about a black picture."""
    student = models.create_student(
        "mixer_s16",
        input_shape=(8, 8, 1),
        num_classes=3,
        patch_size=4,
        width=8,
        depth=2,
        teacher_sites=["last"],
    )
    path = tmp_path_factory.mktemp("models") / "model.keras"
    student.save(path)
    return path, student(np.zeros((1, 8, 8, 1), "float32")).numpy().tolist()


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={"PATH": "", "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


@pytest.mark.parametrize(
    "imports",
    [  # All families are loaded after `import std_keras`, below.
        "import keras, std_keras",
        "import std_keras, tensorflow, keras",
    ],
)
def test_plain_keras_loads_a_student(saved, imports):
    path, expected = saved
    done = run(f"import sys; {imports}\n{LOADS}", path)
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_allclose(eval(done.stdout), expected, atol=1e-5)


def students():
    """A tiny student of every family with its token sets, by name."""
    made = {name: student_families.tiny(name) for name in student_families.FAMILIES}
    size = {"input_shape": (16, 16, 3), "num_classes": 5}
    small = {"patch_size": 4, "width": 8, "depth": 2}
    made["deit tokens"] = models.create_student(
        "mixer_s16", teacher_sites=["last"], tokens="deit", **size, **small
    )
    made["token MLPs"] = models.create_student(
        "mixer_s16", teacher_sites=["last"], propagate_tokens=False, **size, **small
    )
    return made


def teachers():
    """A tiny teacher of every family, by name."""
    size = {"input_shape": (16, 16, 3), "num_classes": 5}
    made = {name: teacher_families.tiny(name) for name in teacher_families.FAMILIES}
    made["cifar_resnet20"] = models.create("cifar_resnet20", **size)
    made["wrn_16_2"] = models.create("wrn_16_2", **size)
    made["skeptical"] = create_skeptical("cifar_resnet20", stage=2, **size)
    made["airbench94"] = models.create("airbench94", input_shape=(32, 32, 3), num_classes=5)
    return made


MADE = {
    "students": (students, "float32"),
    "students in bfloat16": (students, "mixed_bfloat16"),
    "teachers": (teachers, "float32"),
}


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """What every model says about a picture here, and in another process with plain Keras; and the
    classes that were known there before anything was loaded."""
    folder = tmp_path_factory.mktemp("families")
    expected: dict[str, dict[str, list]] = {}
    for kind, (make, policy) in MADE.items():
        (folder / kind).mkdir()
        with dtype_policy(policy):
            for name, model in make().items():
                model.save(folder / kind / f"{name}.keras")
                # A constant picture: bfloat16 gives the same digits in both processes.
                pixels = np.full((1, *model.input_shape[1:]), 77, np.float32)
                said = np.asarray(model(pixels), np.float32).tolist()
                expected.setdefault(kind, {})[name] = said
    script = """
import importlib.util, json, pathlib, sys
import std_keras
assert importlib.util.find_spec("keras").name == "keras"  # Whoever looks for it does no harm.
import keras, numpy as np
known = [*keras.saving.get_custom_objects()]
found = {}
for file in pathlib.Path(sys.argv[1]).glob("*/*.keras"):
    model = keras.saving.load_model(file)
    pixels = np.full((1, *model.input_shape[1:]), 77, np.float32)
    said = np.asarray(model(pixels), np.float32).tolist()
    found.setdefault(file.parent.name, {})[file.stem] = said
print(json.dumps([found, known]))
"""
    done = run(script, folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return expected, *json.loads(done.stdout)


@pytest.mark.parametrize("kind", MADE)
def test_plain_keras_loads_every_family_in_another_process(families, kind):
    expected, found = families[0][kind], families[1][kind]
    assert set(found) == set(expected)
    tolerance = 0.02 if MADE[kind][1] == "mixed_bfloat16" else 1e-4
    for name, logits in expected.items():
        np.testing.assert_allclose(found[name], logits, atol=tolerance, err_msg=name)


def test_importing_the_package_loads_neither_keras_nor_tensorflow():
    done = run("import sys, std_keras; print({'keras', 'tensorflow', 'numpy'} & {*sys.modules})")
    assert done.stdout == "set()\n", done.stderr


def test_every_class_that_the_package_registers_is_known(families):
    """In the other process: here other tests have imported everything."""
    names = set()
    for file in Path(std_keras.__path__[0]).rglob("*.py"):
        lines = file.read_text().splitlines()
        for line, following in itertools.pairwise(lines):
            if line.startswith("@keras.saving.register_keras_serializable"):
                names.add(following.removeprefix("class ").partition("(")[0])
    assert len(names) > 25
    assert {f"std_keras>{name}" for name in names} <= {*families[2]}


def test_keras_without_tensorflow_is_imported_all_the_same(tmp_path):
    """As with another backend, where TensorFlow is not installed."""
    (tmp_path / "keras.py").write_text("there = True\n")
    (tmp_path / "tensorflow.py").write_text("raise ImportError('not installed')\n")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    done = run(script + "import std_keras, keras; print(keras.there)")
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
