from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.layers.dirac import PartialDirac


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 6), (6, 6), (6, 4)])
def test_the_first_filters_copy_and_the_others_are_those_of_pytorch(rng, inputs, outputs):
    kernel = np.asarray(PartialDirac(seed=1)((3, 3, inputs, outputs)))
    copied = min(inputs, outputs)
    x = rng.normal(size=(2, 5, 5, inputs)).astype(np.float32)
    y = keras.ops.conv(x, kernel, padding="same")
    np.testing.assert_array_equal(y[..., :copied], x[..., :copied])
    others = kernel[..., copied:]
    assert np.abs(others).max(initial=0.0) <= 1 / np.sqrt(9 * inputs)


def test_random_filters_fill_their_range():
    others = np.asarray(PartialDirac(seed=1)((3, 3, 4, 400)))[..., 4:]
    assert others.std() == pytest.approx(1 / np.sqrt(36 * 3), rel=0.02)


def test_its_configuration_makes_it_again():
    made = PartialDirac(seed=5)
    again = keras.initializers.deserialize(keras.initializers.serialize(made))
    np.testing.assert_array_equal(again((3, 3, 2, 5)), made((3, 3, 2, 5)))
