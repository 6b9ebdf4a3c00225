"""What RandAugment draws, against the definition and against timm's own functions."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from std_keras.data.augmentation.operations import Operation
from std_keras.data.augmentation.rand_augment import OPERATIONS, RandAugment, arguments_of
from tests.oracles import import_timm

SHAPE = (48, 64, 3)
TIMM_NAMES = {
    Operation.ROTATE: "Rotate",
    Operation.POSTERIZE: "Posterize",
    Operation.SOLARIZE: "Solarize",
    Operation.SOLARIZE_ADD: "SolarizeAdd",
    Operation.COLOR: "Color",
    Operation.CONTRAST: "Contrast",
    Operation.BRIGHTNESS: "Brightness",
    Operation.SHARPNESS: "Sharpness",
    Operation.SHEAR_X: "ShearX",
    Operation.SHEAR_Y: "ShearY",
    Operation.TRANSLATE_X: "TranslateXRel",
    Operation.TRANSLATE_Y: "TranslateYRel",
}
RELATIVE = {Operation.TRANSLATE_X: SHAPE[1], Operation.TRANSLATE_Y: SHAPE[0]}


def draw(recipe, batch_size=6000, step=0):
    operations, arguments = recipe.draw(batch_size=batch_size, seed=1, step=step, image_shape=SHAPE)
    return operations.numpy(), arguments.numpy()


def test_the_list_is_timms():
    import_timm()
    timm = importlib.import_module("timm.data.auto_augment")
    renamed = {"TranslateXRel": "TranslateX", "TranslateYRel": "TranslateY"}
    names = [renamed.get(name, name) for name in timm._RAND_INCREASING_TRANSFORMS]
    words = [
        name.replace("Increasing", "").replace("AutoContrast", "Auto_Contrast") for name in names
    ]
    plain = [word.replace("_", "").lower() for word in words]
    assert plain == [operation.name.replace("_", "").lower() for operation in OPERATIONS]


@pytest.mark.parametrize("layers, probability", [(2, 0.5), (3, 1.0), (1, 0.0)])
def test_choices_are_uniform_and_independent(layers, probability):
    operations, _ = draw(RandAugment(layers=layers, probability=probability))
    assert operations.shape == (6000, layers)
    applied = operations != Operation.IDENTITY
    assert applied.mean() == pytest.approx(probability, abs=0.02)
    if probability:
        counts = [(operations == operation).sum() for operation in OPERATIONS]
        assert sum(counts) == applied.sum()
        assert scipy.stats.chisquare(counts).pvalue > 0.001
    if layers > 1:  # With replacement, as timm: the second choice knows nothing of the first.
        both = applied[:, 0] & applied[:, 1]
        table, *_ = np.histogram2d(operations[both, 0], operations[both, 1], bins=15)
        assert scipy.stats.chi2_contingency(table).pvalue > 0.001


def test_magnitudes_are_normal_and_signs_even():
    operations, arguments = draw(RandAugment(layers=8, probability=1.0), batch_size=8000)
    degrees = arguments[operations == Operation.ROTATE]
    assert (degrees < 0).mean() == pytest.approx(0.5, abs=0.03)
    levels = np.abs(degrees) / 30 * 10
    assert levels.max() <= 10
    below = levels[levels < 9.99]
    assert np.median(levels) == pytest.approx(9.0, abs=0.05)
    assert (levels >= 9.999).mean() == pytest.approx(scipy.stats.norm.sf(2), abs=0.01)
    low, high = scipy.stats.norm.ppf([0.1, 0.8], 9, 0.5)
    assert np.quantile(levels, [0.1, 0.8]) == pytest.approx([low, high], abs=0.06)
    assert len(below) > 0.9 * len(levels)


@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize("operation", TIMM_NAMES)
def test_arguments_are_timms(operation, increasing, monkeypatch):
    """timm draws the sign itself; it is held fixed here."""
    import_timm()
    timm = importlib.import_module("timm.data.auto_augment")
    name = TIMM_NAMES[operation]
    changes = ("Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness")
    if increasing and name in changes:
        name += "Increasing"
    to_arguments = timm.LEVEL_TO_ARG[name]
    for negative in (False, True):
        monkeypatch.setattr(timm.random, "random", lambda negative=negative: 0.9 * negative)
        for level in (0.0, 0.7, 3.3, 9.0, 9.46, 10.0):
            expected = to_arguments(level, {"translate_pct": 0.45})[0]
            expected *= RELATIVE.get(operation, 1)
            got = arguments_of(
                tf.constant([int(operation)]),
                tf.constant([level / 10], tf.float32),
                negative=tf.constant([negative]),
                increasing=increasing,
                image_shape=SHAPE,
            ).numpy()[0]
            # Factors are rounded to 1/4096.
            assert got == pytest.approx(expected, rel=1e-5, abs=1.3e-4)


def test_another_step_draws_anew():
    assert (draw(RandAugment(), step=0)[0] != draw(RandAugment(), step=1)[0]).mean() > 0.5
    np.testing.assert_array_equal(draw(RandAugment(), step=3)[1], draw(RandAugment(), step=3)[1])
