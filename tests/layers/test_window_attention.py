from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras.layers import WindowAttention


def side_of(place: int, side: int, window: int, shift: int) -> tuple[int, bool]:
    """The window that a row (or column) is in after the shift, and whether it was wrapped."""
    if side <= window:
        return 0, False
    return ((place - shift) % side) // window, place < shift


def expected(x: np.ndarray, layer: WindowAttention) -> np.ndarray:
    """Every patch looks for its partners on the unshifted map, one head at a time."""
    _, height, width, channels = x.shape
    heads, size = layer.num_heads, channels // layer.num_heads
    rows, columns = min(layer.window_size, height), min(layer.window_size, width)
    attention = layer.attention
    qkv = x @ attention.qkv.kernel.numpy() + attention.qkv.bias.numpy()
    query, key, value = np.split(qkv, 3, axis=-1)
    table = layer.relative_position_bias.numpy().reshape(2 * rows - 1, 2 * columns - 1, heads)
    region = {
        (i, j): (
            side_of(i, height, layer.window_size, layer.shift),
            side_of(j, width, layer.window_size, layer.shift),
        )
        for i in range(height)
        for j in range(width)
    }
    mixed = np.zeros_like(x)
    for i, j in region:
        partners = [place for place in region if region[place] == region[i, j]]
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            scores = np.stack(
                [
                    (query[:, i, j, part] * key[:, k, m, part]).sum(axis=-1) / np.sqrt(size)
                    + table[i - k + rows - 1, j - m + columns - 1, h]
                    for k, m in partners
                ]
            )
            weights = np.exp(scores) / np.exp(scores).sum(axis=0)
            for weight, (k, m) in zip(weights, partners, strict=True):
                mixed[:, i, j, part] += weight[:, None] * value[:, k, m, part]
    return mixed @ attention.projection.kernel.numpy() + attention.projection.bias.numpy()


@pytest.mark.parametrize("shape", [(8, 12), (4, 8), (8, 3), (2, 3)])
@pytest.mark.parametrize("shift", [0, 1, 2])
def test_equals_numpy(rng, reload, shape, shift):
    inputs = keras.Input((*shape, 6))
    layer = WindowAttention(2, window_size=4, shift=shift)
    model = keras.Model(inputs, layer(inputs))
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape) / 2)
    x = rng.normal(size=(2, *shape, 6)).astype("float32")
    np.testing.assert_allclose(model(x), expected(x, layer), atol=1e-5)
    np.testing.assert_array_equal(reload(model)(x), model(x))


def test_the_gradient_of_the_bias_is_dense(rng):
    layer = WindowAttention(2, window_size=4, shift=2)
    layer.build((None, 8, 8, 6))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(rng.normal(size=(1, 8, 8, 6))) ** 2)
    gradient = tape.gradient(loss, layer.relative_position_bias.value)
    # Optimizers and all-reduces would have to treat IndexedSlices apart.
    assert isinstance(gradient, tf.Tensor)
    assert np.all(gradient != 0.0)


@pytest.mark.parametrize(
    ("arguments", "shape", "message"),
    [
        ({"window_size": 4, "shift": 4}, (8, 8, 6), "shift=4"),
        ({"window_size": 0}, (8, 8, 6), "window_size=0"),
        ({"window_size": 3}, (8, 6, 6), "window_size=3 does not divide the map 8x6"),
        ({"window_size": 4}, (None, 8, 6), "fixed sizes"),
    ],
)
def test_bad_arguments(arguments, shape, message):
    with pytest.raises(ValueError, match=message):
        WindowAttention(2, **arguments)(keras.Input(shape))
