"""Skeptical students: what they are made of, who reaches what, and what remains of them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras import models
from std_keras.errors import InputError


def create(stage=1, **options):
    keras.utils.set_random_seed(3)
    return models.create_skeptical(
        "cifar_resnet20", input_shape=(16, 16, 3), num_classes=5, depth=8, stage=stage, **options
    )


@pytest.fixture(scope="module")
def skeptical():
    return create()


def separable(channels, out):
    """Weights of one separable part: two depthwise 3x3, two pointwise, two BatchNorms."""
    return 9 * channels + channels**2 + 2 * channels + 9 * channels + channels * out + 2 * out


def classifier(channels, classes):
    """Parameters in closed form: the gate with its norm, parts up to 64 channels, the head."""
    total = separable(channels, channels) + 2 * channels
    while channels < 64:
        total += separable(channels, 2 * channels)
        channels *= 2
    return total + 64 * classes + classes


def test_parameters(skeptical):
    kept = models.without_auxiliaries(skeptical)
    plain = models.create("cifar_resnet20", input_shape=(16, 16, 3), num_classes=5, depth=8)
    count = models.trainable_parameters
    assert count(kept) == count(plain)
    assert count(skeptical) - count(plain) == classifier(16, 5) + classifier(32, 5)
    assert count(create(stage=2)) - count(plain) == classifier(32, 5)


def test_what_remains_is_the_plain_model_layer_by_layer(skeptical):
    kept = models.without_auxiliaries(skeptical)
    plain = models.create("cifar_resnet20", input_shape=(16, 16, 3), num_classes=5, depth=8)
    assert [layer.name for layer in kept.layers] == [layer.name for layer in plain.layers]
    plain.set_weights(kept.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(plain(images), kept(images), atol=1e-6)
    np.testing.assert_allclose(skeptical(images), kept(images), atol=1e-6)
    assert models.without_auxiliaries(plain) is plain


def test_auxiliaries_are_outputs_of_training_alone(skeptical, reload, images):
    for model in (skeptical, reload(skeptical)):
        assert models.auxiliary_names(model) == ("auxiliary_0", "auxiliary_1")
        assert models.head_names(model) == ("classification",)
        outputs = models.training_model(model)(images.astype(np.float32))
        assert set(outputs) == {"classification", "auxiliary_0", "auxiliary_1"}
        assert {tuple(v.shape) for v in outputs.values()} == {(4, 5)}
        assert set(models.heads_model(model).output) == {"classification"}
        head = models.prediction_model(model, head="classification")
        assert not models.auxiliary_names(head)
        with pytest.raises(InputError, match="head=auxiliary_0"):
            models.prediction_model(model, head="auxiliary_0")
    assert models.auxiliary_names(create(stage=2)) == ("auxiliary_1",)


@pytest.mark.parametrize("stage", [1, 2])
def test_a_teacher_reaches_the_stages_before_its_classifier_alone(stage, images):
    model = create(stage)
    with tf.GradientTape() as tape:
        outputs = models.training_model(model)(images.astype(np.float32), training=True)
        loss = tf.reduce_sum(outputs[f"auxiliary_{stage - 1}"] ** 2)
    reached = {
        weight.path.split("/")[0]
        for weight, gradient in zip(
            model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True
        )
        if gradient is not None and np.abs(gradient).max() > 0
    }
    backbone = {name for name in reached if not name.startswith("auxiliary_")}
    expected = [f"stage_{s}_" for s in range(stage)]
    assert any(name.startswith(expected[-1]) for name in backbone)
    assert all(name.startswith(("stem", *expected)) for name in backbone)
    assert {name[:11] for name in reached - backbone} == {f"auxiliary_{stage - 1}"}


def test_odd_sizes():
    model = models.create_skeptical(
        "cifar_resnet20", input_shape=(9, 9, 1), num_classes=3, depth=8, stage=1
    )
    assert models.training_model(model)(np.zeros((2, 9, 9, 1)))["auxiliary_0"].shape == (2, 3)


def test_bad_input():
    with pytest.raises(InputError, match="needs a CIFAR ResNet, not model=mixer_s16"):
        models.create_skeptical("mixer_s16", input_shape=(16, 16, 3), num_classes=5)
    with pytest.raises(InputError, match="skeptical_stage=3"):
        create(stage=3)
