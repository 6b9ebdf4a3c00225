from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras.layers import GroupedConv2D


@pytest.mark.parametrize("group_width", [2, 3, 6])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(5, 8), (1, 1)])
def test_equals_tensorflows_grouped_convolution(rng, reload, group_width, stride, size):
    inputs = keras.Input((*size, 6))
    layer = GroupedConv2D(group_width, stride)
    model = keras.Model(inputs, layer(inputs))
    x = rng.normal(size=(2, *size, 6)).astype("float32")
    one_pixel = [[0, 0], [1, 1], [1, 1], [0, 0]]
    expected = tf.nn.conv2d(x, layer.kernel.numpy(), stride, one_pixel)
    assert model.output_shape == (None, *expected.shape[1:])
    np.testing.assert_allclose(model(x), expected, atol=1e-5)
    np.testing.assert_array_equal(reload(model)(x), model(x))


def test_initialisation_is_normal_by_the_fan_out_of_a_group():
    layer = GroupedConv2D(32)
    layer.build((None, 4, 4, 64))
    assert layer.kernel.numpy().std() == pytest.approx(np.sqrt(2 / (9 * 32)), rel=0.03)


def test_groups_must_divide_the_channels():
    with pytest.raises(ValueError, match="group_width=4 does not divide 6"):
        GroupedConv2D(4)(keras.Input((4, 4, 6)))
