"""The program: its flags, what it says, and its exit codes."""

from __future__ import annotations

import pytest

from std_keras import models
from std_keras.config import TrainConfig
from std_keras.runs.run_directory import RunDirectory
from std_keras.runs.trained import load_trained
from std_keras.weights.run import write_run


@pytest.fixture
def resize(run_command):
    """Runs the command; returns exit code and what it wrote to standard error."""

    def run(*arguments):
        code, _, said = run_command("resize-weights", *arguments)
        return code, said

    return run


@pytest.fixture
def source(tmp_path):
    small = {"patch_size": 4, "width": 6, "depth": 1}
    model = models.create("mixer_s16", input_shape=(8, 8, 3), num_classes=3, **small)
    run = RunDirectory(tmp_path / "old")
    write_run(run, model=model, config=TrainConfig(**small), label_names="abc", origin={})
    return run.path


def test_resizes(resize, source, tmp_path):
    output = tmp_path / "new"
    code, said = resize(f"--source={source}", "--image_size=16", f"--output={output}")
    assert code == 0, said
    assert "block-diagonal over 2 x 2 tiles" in said
    assert load_trained(output).input_shape == (None, 16, 16, 3)


def test_an_approximation_and_a_new_head_are_said(resize, source, tmp_path):
    output = tmp_path / "new"
    code, said = resize(
        f"--source={source}", "--image_size=12", f"--output={output}", "--num_classes=7"
    )
    assert code == 0, said
    assert "approximation" in said
    assert "the heads are new and not trained" in said
    assert load_trained(output).output_shape == (None, 7)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--image_size is missing"),
        (("--image_size=0",), "--image_size=0"),
        (("--image_size=18",), "--image_size=18"),
        (("--image_size=16", "--labels=x"), "--num_classes"),
        (("--image_size=16", "--output=OLD"), "--output="),
        (("--image_size=16", "--source=/nowhere"), "--source=/nowhere"),
    ],
)
def test_bad_flags_exit_2_with_one_sentence(resize, source, tmp_path, arguments, words):
    arguments = [argument.replace("OLD", str(source)) for argument in arguments]
    code, said = resize(f"--source={source}", f"--output={tmp_path / 'new'}", *arguments)
    assert code == 2
    assert words in said.splitlines()[-1]
    assert not (tmp_path / "new").exists()
