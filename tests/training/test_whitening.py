"""A run begins with the stem whitened by its own training images, and goes on with that."""

from __future__ import annotations

import numpy as np
import pytest

from std_keras import models
from std_keras.config import TrainConfig
from std_keras.data.arrays import ArraySource
from std_keras.errors import Interrupted
from std_keras.runs.trained import load_trained
from std_keras.training import train
from std_keras.training.whitening import whiten_stems
from tests.training.tiny import as_python


@pytest.fixture
def source():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 20, 20, 3), dtype=np.uint8)
    return ArraySource(np.repeat(images, 2, axis=1)[:, :20], np.zeros(40, np.int32))


def test_the_answers_to_the_training_images_are_white(source):
    model = models.create("airbench94", input_shape=(20, 20, 3), num_classes=4, mean=0.5, std=0.25)
    whiten_stems(model, source)
    (batch,) = source.sequential(batch_size=40)
    images = source.decode(batch)[0].numpy().astype(np.float32)
    stem = model.get_layer("stem")
    answers = np.asarray(stem((images / 255 - 0.5) / 0.25), np.float64)
    half = answers[..., :12].reshape(-1, 12)
    np.testing.assert_allclose(np.diag(half.T @ half / len(half)), 1.0, atol=0.02)


def test_a_model_without_such_a_stem_is_left_alone(source):
    model = models.create("cifar_resnet20", depth=8, input_shape=(20, 20, 3), num_classes=4)
    before = model.get_weights()
    whiten_stems(model, source)
    for own, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(own, other)


class StopAfter:
    def __init__(self, calls):
        self.calls = calls

    def __call__(self):
        self.calls -= 1
        return self.calls < 0


def test_a_run_that_goes_on_keeps_its_stem(tmp_path):
    config = TrainConfig(
        dataset="digits",
        model="airbench94",
        image_size=17,
        epochs=2,
        batch_size=16,
        max_train_examples=32,
        max_test_examples=16,
        optimizer="muon",
        augmentation="none",
        horizontal_flip="alternate",
    )
    with as_python():
        with pytest.raises(Interrupted):
            train(config, model_dir=tmp_path / "run", stop=StopAfter(1))
        train(config, model_dir=tmp_path / "run")
        train(config, model_dir=tmp_path / "whole")
    parts, whole = (load_trained(tmp_path / name) for name in ("run", "whole"))
    for own, other in zip(parts.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)
