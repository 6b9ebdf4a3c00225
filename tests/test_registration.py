"""`model.keras` in plain Keras: `import std_keras` is all it takes."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import std_keras
from std_keras import models

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
    [
        "import keras, std_keras",
        "import std_keras, keras",
        "import std_keras, tensorflow, keras",
        "import std_keras, importlib.util; importlib.util.find_spec('keras'); import keras",
    ],
)
def test_plain_keras_loads_a_student(saved, imports):
    path, expected = saved
    done = run(f"import sys; {imports}\n{LOADS}", path)
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_allclose(eval(done.stdout), expected, atol=1e-5)


def test_importing_the_package_loads_neither_keras_nor_tensorflow():
    done = run("import sys, std_keras; print({'keras', 'tensorflow', 'numpy'} & {*sys.modules})")
    assert done.stdout == "set()\n", done.stderr


def test_every_class_that_the_package_registers_is_known():
    """In a process of its own: here other tests have imported everything."""
    names = set()
    for file in Path(std_keras.__path__[0]).rglob("*.py"):
        lines = file.read_text().splitlines()
        for line, following in itertools.pairwise(lines):
            if line.startswith("@keras.saving.register_keras_serializable"):
                names.add(following.removeprefix("class ").partition("(")[0])
    assert len(names) > 25
    done = run("import std_keras, keras; print(*keras.saving.get_custom_objects())")
    assert {f"std_keras>{name}" for name in names} <= {*done.stdout.split()}, done.stderr


def test_keras_without_tensorflow_is_imported_all_the_same(tmp_path):
    """As with another backend, where TensorFlow is not installed."""
    (tmp_path / "keras.py").write_text("there = True\n")
    (tmp_path / "tensorflow.py").write_text("raise ImportError('not installed')\n")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    done = run(script + "import std_keras, keras; print(keras.there)")
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
