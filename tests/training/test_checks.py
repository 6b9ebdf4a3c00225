"""What a run that continues refuses."""

from __future__ import annotations

import dataclasses

import pytest
import tensorflow as tf

from std_keras import data
from std_keras.config import TrainConfig
from std_keras.data.limit import limited
from std_keras.errors import InputError
from std_keras.runs.run_directory import RunDirectory
from std_keras.training.checks import check_same_run, slow_choice


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", validation_fraction=0.1)


@pytest.fixture
def begin(tmp_path, digits):
    """Begins a run on the digits; older runs did not write how many examples there were."""

    def write(*, examples=digits.sizes):
        run = RunDirectory(tmp_path / "run")
        run.prepare()
        run.write_start(
            TrainConfig(epochs=3),
            label_names=digits.label_names,
            architecture="{}",
            examples=examples,
        )
        return run

    return write


def test_the_same_data_and_options_continue(begin, digits):
    check_same_run(begin(), TrainConfig(epochs=3, log_every_steps=7), digits)


def test_an_older_run_that_does_not_say_its_sizes_continues(begin, digits):
    check_same_run(begin(examples=None), TrainConfig(epochs=3), limited(digits, train=7, test=0))


def test_other_options_are_named(begin, digits):
    with pytest.raises(InputError, match="other options .*epochs"):
        check_same_run(begin(), TrainConfig(epochs=4), digits)


def test_other_classes_are_refused(begin, digits):
    swapped = dataclasses.replace(digits, label_names=digits.label_names[::-1])
    with pytest.raises(InputError, match="classes differ from"):
        check_same_run(begin(), TrainConfig(epochs=3), swapped)


def test_a_training_set_of_another_size_is_refused(begin, digits):
    """Its epochs would end at other steps, and its order be another, without a word."""
    run, fewer = begin(), limited(digits, train=digits.train.size - 1, test=0)
    with pytest.raises(InputError, match=f"train part has {digits.train.size - 1} .*had 12"):
        check_same_run(run, TrainConfig(epochs=3), fewer)
    grown = dataclasses.replace(digits, validation=None)
    with pytest.raises(InputError, match="validation part has 0 examples"):
        check_same_run(run, TrainConfig(epochs=3), grown)
    # More to test on changes nothing that was trained.
    check_same_run(run, TrainConfig(epochs=3), limited(digits, train=0, test=10))


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("mixed_precision", [False, True])
def test_what_is_slow_on_a_cpu_is_named(monkeypatch, jit_compile, mixed_precision, gpu):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["one"] if gpu else [])
    config = TrainConfig(jit_compile=jit_compile, mixed_precision=mixed_precision)
    said = slow_choice(config, tf.distribute.get_strategy())
    if jit_compile and mixed_precision and not gpu:
        assert "jit_compile=False is faster" in said
    else:
        assert said is None
