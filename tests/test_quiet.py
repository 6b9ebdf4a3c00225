"""Noise of C++ libraries is held back, but not from whoever must find an error."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from std_keras import quiet


def test_what_c_writes_is_held_back(capfd):
    with quiet.muted_stderr():
        os.write(2, b"noise\n")
    os.write(2, b"signal\n")
    assert capfd.readouterr().err == "signal\n"


def test_it_is_shown_if_the_block_fails(capfd):
    with pytest.raises(RuntimeError, match="broken"), quiet.muted_stderr():
        os.write(2, b"the reason\n")
        raise RuntimeError("broken")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "the reason\nafter\n"


@pytest.mark.parametrize("redirect", ["", " 2>&-"], ids=["open", "closed"])
def test_tensorflow_loads_without_a_word(redirect):
    """Also with standard error closed, as a daemon may have it."""
    command = f'"{sys.executable}" -c "from std_keras import quiet; quiet.load_tensorflow()"'
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "KERAS_"))}
    root = Path(quiet.__file__).parent.parent
    done = subprocess.run(
        ["sh", "-c", command + redirect],
        env={**environment, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_training_says_nothing_but_its_own_lines(root, tmp_path):
    """oneDNN reports as an error that it leaves integers, a teacher's labels, to TensorFlow."""
    teacher = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    teacher.add(keras.layers.Dense(10))
    teacher.save(tmp_path / "teacher.keras")
    flags = "--dataset=digits --model=mixer_s16 --patch_size=4 --width=16 --depth=1 --epochs=1"
    more = f"--batch_size=64 --max_train_examples=128 --model_dir={tmp_path}/run"
    more += f" --distillation=hard --teacher={tmp_path}/teacher.keras,input=unit"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "KERAS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "std_keras.train", *flags.split(), *more.split()],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stderr.splitlines()
    assert len(lines) >= 3
    assert [line for line in lines if not re.match(r"\d\d:\d\d:\d\d ", line)] == []
