"""Noise of C++ libraries is held back, but not from whoever must find an error."""

from __future__ import annotations

import importlib
import logging
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from std_keras import kernels, progress, quiet


def test_what_c_writes_is_held_back(capfd):
    with quiet.muted_stderr():
        os.write(2, b"noise\n")
    os.write(2, b"signal\n")
    assert capfd.readouterr().err == "signal\n"


def test_what_we_say_ourselves_is_not(capfd, monkeypatch):
    """The answer to a signal, while TensorFlow is loaded; also if one block is in another."""
    monkeypatch.setattr(logging.getLogger("std_keras"), "handlers", [])
    progress.configure()
    with quiet.muted_stderr():
        os.write(2, b"noise\n")
        progress.say("heard")
        with quiet.muted_stderr():
            progress.say("twice")
        progress.say("thrice")
    progress.say("after")
    said = [line.split()[-1] for line in capfd.readouterr().err.splitlines()]
    assert said == ["heard", "twice", "thrice", "after"]


def test_it_is_shown_if_the_block_fails(capfd):
    with pytest.raises(RuntimeError, match="broken"), quiet.muted_stderr():
        os.write(2, b"the reason\n")
        raise RuntimeError("broken")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "the reason\nafter\n"


@pytest.mark.parametrize(
    ("call", "redirect"),
    [("ensure_tensorflow", ""), ("load_tensorflow", " 2>&-")],
    ids=["open", "closed"],
)
def test_tensorflow_loads_without_a_word(call, redirect):
    """Also with standard error closed, as a daemon may have it. Kernels are chosen before."""
    program = "import gc, sys; from std_keras import kernels, quiet; "
    program += "seen, choose = [], kernels.choose; "
    program += "kernels.choose = lambda: seen.append('tensorflow' in sys.modules) or choose(); "
    program += f"quiet.{call}(); assert 'tensorflow' in sys.modules and seen == [False]; "
    program += "assert gc.isenabled()"
    if call == "load_tensorflow":  # For a program; a library leaves the collector alone.
        program += " and gc.get_freeze_count() > 100_000"
    command = f'"{sys.executable}" -c "{program}"'
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "KERAS_"))}
    root = Path(quiet.__file__).parent.parent
    done = subprocess.run(
        ["sh", "-c", command + redirect],
        env={**environment, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def run_of(*command, root, **environment):
    """A command of the program, with nothing set that this process has set."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "KERAS_", "ONEDNN_"))}
    return subprocess.run(
        [sys.executable, "-m", "std_keras", *map(str, command)],
        cwd=root,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="the choice is for x86 alone"
)
@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({}, "CPU, oneDNN kernels"),
        ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "CPU, TensorFlow's own kernels"),
    ],
    ids=["by default", "if the user says no"],
)
def test_the_programs_run_on_onednn_and_say_nothing_but_their_own_lines(
    root, tmp_path, chosen, words
):
    """oneDNN itself lists what it executes; else TensorFlow takes its matrix product alone.

    It reports as an error that it leaves integers, a teacher's labels, to TensorFlow.
    """
    teacher = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(16, 3)])
    teacher.add(keras.layers.Flatten())
    teacher.add(keras.layers.Dense(10))
    teacher.save(tmp_path / "teacher.keras")
    flags = "--dataset=digits --model=mixer_s16 --patch_size=4 --width=16 --depth=1 --epochs=1"
    more = f"--batch_size=64 --max_train_examples=128 --model_dir={tmp_path}/run"
    more += f" --distillation=hard --teacher={tmp_path}/teacher.keras,input=unit"
    done = run_of("train", *flags.split(), *more.split(), root=root, ONEDNN_VERBOSE="1", **chosen)
    lines = done.stderr.splitlines()
    assert len(lines) >= 3
    assert [line for line in lines if not re.match(r"\d\d:\d\d:\d\d ", line)] == []
    executed = {
        line.split(",")[5]
        for line in done.stdout.splitlines()
        if line.startswith("onednn_verbose,") and ",primitive,exec,cpu," in line
    }
    assert ("convolution" in executed) == (not chosen)
    assert lines[0].endswith(words)


def test_every_x86_processor_gets_them_and_no_other(monkeypatch):
    """TensorFlow would choose by the processor's features; the variable is set for all."""
    for machine, wanted in (("x86_64", "1"), ("AMD64", "1"), ("aarch64", None)):
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
        monkeypatch.setattr(kernels.platform, "machine", lambda machine=machine: machine)
        kernels.choose()
        assert os.environ.get("TF_ENABLE_ONEDNN_OPTS") == wanted


def test_what_no_program_uses_is_hidden_while_tensorflow_loads(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with quiet._as_if_missing(["colorsys", "keras"]):
        assert importlib.import_module("keras") is keras  # It was there before.
        with pytest.raises(ImportError):
            importlib.import_module("colorsys")
    assert callable(importlib.import_module("colorsys").rgb_to_hsv)
