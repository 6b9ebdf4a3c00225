from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.layers import CycleFC


def reference(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, axis: str, size: int):
    """From the definition, one number after the other."""
    batch, height, width, channels = x.shape
    y = np.zeros((batch, height, width, len(bias))) + bias
    for row in range(height):
        for column in range(width):
            for i in range(channels):
                step = (i + size // 2) % size - size // 2
                at = (row, column + step) if axis == "width" else (row + step, column)
                if 0 <= at[0] < height and 0 <= at[1] < width:
                    y[:, row, column] += x[:, at[0], at[1], i, None] * kernel[i]
    return y


def layer_and_input(rng, *, axis: str, size: int, shape: tuple[int, ...]):
    layer = CycleFC(5, axis, kernel_size=size)
    x = rng.normal(size=shape).astype("float32")
    layer(x)
    layer.bias.assign(rng.normal(size=5))
    return layer, x


@pytest.mark.parametrize("axis", ["width", "height"])
@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("shape", [(2, 4, 5, 8), (1, 1, 2, 3), (1, 9, 1, 16)])
def test_equals_numpy(rng, axis, size, shape):
    layer, x = layer_and_input(rng, axis=axis, size=size, shape=shape)
    expected = reference(x, layer.kernel.numpy(), layer.bias.numpy(), axis, size)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    assert layer.compute_output_shape(shape) == expected.shape


@pytest.mark.parametrize("axis", ["width", "height"])
@pytest.mark.parametrize("size", [3, 7])
def test_equals_torchvision(rng, axis, size):
    """As the authors call it: offsets (dy, dx) per channel, kernel 1 x 1."""
    torch = pytest.importorskip("torch")
    layer, x = layer_and_input(rng, axis=axis, size=size, shape=(2, 6, 7, 8))
    offset = torch.zeros(2, 16, 6, 7)
    for i in range(8):
        offset[:, 2 * i + (axis == "width")] = (i + size // 2) % size - size // 2
    try:
        from torchvision.ops import deform_conv2d

        expected = deform_conv2d(
            torch.tensor(x.transpose(0, 3, 1, 2).copy()),
            offset,
            torch.tensor(layer.kernel.numpy().T[..., None, None].copy()),
            torch.tensor(layer.bias.numpy()),
        )
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision has no deformable convolution here: {error}")
    np.testing.assert_allclose(layer(x), expected.numpy().transpose(0, 2, 3, 1), atol=1e-5)


def test_has_the_weights_of_a_dense_layer_and_no_others(rng):
    layer, _ = layer_and_input(rng, axis="width", size=3, shape=(1, 4, 4, 8))
    assert [tuple(weight.shape) for weight in layer.trainable_weights] == [(8, 5), (5,)]
    assert not layer.non_trainable_weights


@pytest.mark.parametrize("axis", ["width", "height"])
def test_round_trip(rng, reload, axis):
    inputs = keras.Input((4, 5, 8))
    layer = CycleFC(5, axis, kernel_size=5, use_bias=False, name="fc")
    model = keras.Model(inputs, layer(inputs))
    x = rng.normal(size=(2, 4, 5, 8)).astype("float32")
    loaded = reload(model)
    np.testing.assert_array_equal(loaded(x), model(x))
    config = loaded.get_layer("fc").get_config()
    assert (config["axis"], config["kernel_size"], config["use_bias"]) == (axis, 5, False)
    # 0, 1, 2, -2, -1: with another length of the cycle the result would be another.
    other = reference(x, layer.kernel.numpy(), np.zeros(5), axis, 3)
    assert np.abs(np.array(loaded(x)) - other).max() > 1e-2


def test_moves_exactly_in_bfloat16(rng):
    """A one in the kernel loses nothing: the result is that of a dense layer on moved channels."""
    x = rng.normal(size=(1, 4, 5, 8)).astype("float32")
    layer = CycleFC(8, "width", dtype="mixed_bfloat16", use_bias=False)
    layer.build(x.shape)
    layer.kernel.assign(np.eye(8))
    rounded = np.array(keras.ops.cast(keras.ops.cast(x, "bfloat16"), "float32"))
    moved = reference(rounded, np.eye(8), np.zeros(8), "width", 3)
    np.testing.assert_array_equal(keras.ops.cast(layer(x), "float32"), moved)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"axis": "depth"}, "axis='depth'"),
        ({"axis": "width", "kernel_size": 4}, "kernel_size=4"),
        ({"axis": "width", "kernel_size": -1}, "kernel_size=-1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        CycleFC(5, **arguments)


def test_needs_an_image():
    with pytest.raises(ValueError, match=r"\(B, H, W, N\)"):
        CycleFC(5, "width")(keras.Input((4, 8)))
