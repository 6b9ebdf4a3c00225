"""Models of run directories, finished or not."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras import models
from std_keras.config import TrainConfig
from std_keras.errors import InputError
from std_keras.runs.run_directory import RunDirectory
from std_keras.runs.trained import load_trained
from std_keras.training.checkpoints import Checkpoints
from std_keras.training.ema import WeightAverage
from std_keras.training.state import TrainState


class Run:
    """A run directory whose raw and averaged weights are known."""

    def __init__(self, path, *, ema_decay, finished):
        keras.utils.set_random_seed(3)
        self.model = models.create_student(
            "mixer_s16",
            input_shape=(8, 8, 1),
            num_classes=10,
            teacher_sites=["last"],
            patch_size=4,
            width=8,
            depth=2,
            stochastic_depth=0.5,
        )
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build(self.model.trainable_variables)
        state = TrainState(model=self.model, outputs=self.model, optimizer=optimizer)
        self.averaged = None
        if ema_decay:
            self.scatter(1)
            state.average = WeightAverage(self.model, decay=ema_decay)
            self.averaged = self.weights()
        self.scatter(2)
        self.raw = self.weights()
        self.directory = RunDirectory(path)
        self.directory.prepare()
        self.directory.write_start(
            TrainConfig(ema_decay=ema_decay),
            label_names=tuple("0123456789"),
            architecture=self.model.to_json(),
        )
        Checkpoints(self.directory.checkpoints, state, keep=1).save(step=4, seconds=1.0)
        if finished:
            if state.average is not None:
                state.average.copy_to_model()
            self.model.save(self.directory.model_file)
        self.directory.release()

    def scatter(self, seed):
        rng = np.random.default_rng(seed)
        for variable in self.model.trainable_variables:
            variable.assign(rng.normal(size=variable.shape))

    def weights(self):
        return [v.numpy() for v in self.model.trainable_variables]


def assert_weights(model, expected):
    for variable, value in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)


@pytest.fixture(params=[True, False], ids=["finished", "unfinished"])
def averaged_run(request, tmp_path):
    return Run(tmp_path / "run", ema_decay=0.9, finished=request.param)


@pytest.fixture(params=[True, False], ids=["finished", "unfinished"])
def plain_run(request, tmp_path):
    return Run(tmp_path / "run", ema_decay=0.0, finished=request.param)


def test_raw_and_averaged_weights(averaged_run):
    path = averaged_run.directory.path
    assert_weights(load_trained(path), averaged_run.averaged)
    assert_weights(load_trained(path, weights="ema"), averaged_run.averaged)
    assert_weights(load_trained(path, weights="raw"), averaged_run.raw)
    assert (averaged_run.raw[0] != averaged_run.averaged[0]).any()


def test_a_run_without_an_average(plain_run):
    path = plain_run.directory.path
    assert_weights(load_trained(str(path)), plain_run.raw)
    assert_weights(load_trained(path, weights="raw"), plain_run.raw)
    with pytest.raises(InputError, match=r"weights=ema.*ema_decay=0.*weights=raw"):
        load_trained(path, weights="ema")


def test_the_model_predicts_as_the_one_that_was_trained(plain_run):
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    loaded = load_trained(plain_run.directory.path)
    np.testing.assert_allclose(loaded(images), plain_run.model(images), rtol=1e-5, atol=1e-5)
    assert models.head_names(loaded) == ("classification", "distillation_0_last")


# What cannot be loaded


def test_no_such_directory(tmp_path):
    with pytest.raises(InputError, match=f"model_dir={tmp_path}/no: there is no such directory"):
        load_trained(tmp_path / "no")


def test_a_directory_that_is_no_run(tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path} is not a .*run directory"):
        load_trained(tmp_path)


def test_a_run_without_a_checkpoint(tmp_path):
    run = Run(tmp_path / "run", ema_decay=0.0, finished=False)
    for file in run.directory.checkpoints.iterdir():
        file.unlink()
    with pytest.raises(InputError, match="holds no checkpoint; train first"):
        load_trained(tmp_path / "run")


@pytest.mark.parametrize("content", [None, "{", "{}", '{"class_name": "Nothing", "config": {}}'])
def test_a_lost_or_damaged_architecture(tmp_path, content):
    run = Run(tmp_path / "run", ema_decay=0.0, finished=False)
    run.directory.architecture_file.unlink()
    if content is not None:
        run.directory.architecture_file.write_text(content)
    with pytest.raises(InputError, match=r"architecture\.json cannot be read") as info:
        load_trained(tmp_path / "run")
    assert "\n" not in str(info.value)


def test_a_damaged_model_file(tmp_path):
    run = Run(tmp_path / "run", ema_decay=0.0, finished=True)
    run.directory.model_file.write_bytes(b"hello")
    with pytest.raises(InputError, match=r"model\.keras cannot be loaded"):
        load_trained(tmp_path / "run")
