"""What a training loads: nothing that it has no use for, because everybody waits for it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

# One training after the other, and the modules that are there after each.
SCRIPT = """
import json, sys
from std_keras.programs import program, train

for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    assert program.run(train.main) == 0
    print(json.dumps(sorted(sys.modules)))
"""
TINY = (
    *("--model=mixer_s16", "--patch_size=4", "--width=8", "--depth=1"),
    *("--epochs=4", "--batch_size=16", "--learning_rate=0.01"),
)
# Of files in other forms, the hub, pictures, data sets, and what Keras would like to have.
NEVER = {
    *("ai_edge_litert", "ai_edge_quantizer", "onnx", "onnxruntime", "safetensors", "torch"),
    *("IPython", "PIL.PngImagePlugin", "datasets", "keras_cv", "keras_hub"),
    *("matplotlib", "tensorflow_datasets"),
    *("std_keras.exporting.classifying", "std_keras.runtimes.tflite_file"),
    *("std_keras.weights.safetensors_file", "std_keras.weights.torch_file"),
}
OF_DIGITS = {"pandas", "scipy", "sklearn"}  # scikit-learn has the digits, and brings the others.


@pytest.fixture(scope="module")
def loaded(root, tmp_path_factory):
    """The modules after a teacher, a student of it, and a student on the digits, in one process."""
    folder = tmp_path_factory.mktemp("imports")
    labels = np.arange(32) % 2
    images = np.zeros((32, 8, 8, 3), np.uint8)
    images[labels == 1] = 255  # Easily told, so that the teacher's classes need no other order.
    np.savez(
        folder / "set.npz",
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
    )
    files = f"--dataset={folder}/set.npz"
    runs = [
        [files, *TINY, f"--model_dir={folder}/teacher"],
        [files, *TINY, f"--model_dir={folder}/student", "--distillation=hard"],
        ["--dataset=digits", *TINY, f"--model_dir={folder}/digits", "--max_train_examples=32"],
    ]
    runs[1].append(f"--teacher={folder}/teacher")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(runs)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [set(json.loads(line)) for line in done.stdout.splitlines()]


def test_a_student_and_its_teacher(loaded):
    for modules in loaded[:2]:
        assert "std_keras.teachers.load" in modules and "tensorflow" in modules
        assert sorted(modules & (NEVER | OF_DIGITS)) == []


def test_the_digits(loaded):
    assert "sklearn" in loaded[2]
    assert sorted(loaded[2] & NEVER) == []
