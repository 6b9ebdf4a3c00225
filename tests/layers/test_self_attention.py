from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.layers import SelfAttention


def expected(x: np.ndarray, layer: SelfAttention, score_bias: np.ndarray | None) -> np.ndarray:
    """One row of one head at a time."""
    batch, rows, channels = x.shape
    heads, size = layer.num_heads, channels // layer.num_heads
    qkv = x @ layer.qkv.kernel.numpy() + layer.qkv.bias.numpy()
    query, key, value = np.split(qkv, 3, axis=-1)
    mixed = np.zeros_like(x)
    for b in range(batch):
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            for t in range(rows):
                scores = key[b, :, part] @ query[b, t, part] / np.sqrt(size)
                if score_bias is not None:
                    scores = scores + score_bias[b % len(score_bias), h, t]
                weights = np.exp(scores) / np.exp(scores).sum()
                mixed[b, t, part] = weights @ value[b, :, part]
    return mixed @ layer.projection.kernel.numpy() + layer.projection.bias.numpy()


@pytest.fixture
def layer(rng) -> SelfAttention:
    layer = SelfAttention(3)
    layer.build((None, 5, 12))
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape) / 2)
    return layer


@pytest.mark.parametrize("kinds", [0, 1, 2, 4])
@pytest.mark.parametrize("rows", [1, 5])
def test_equals_numpy(rng, layer, kinds, rows):
    x = rng.normal(size=(4, rows, 12)).astype("float32")
    score_bias = rng.normal(size=(kinds, 3, rows, rows)).astype("float32") if kinds else None
    got = layer(x) if score_bias is None else layer(x, score_bias=score_bias)
    np.testing.assert_allclose(got, expected(x, layer, score_bias), atol=1e-5)


def test_equals_pytorch(rng, layer):
    torch = pytest.importorskip("torch")
    reference = torch.nn.MultiheadAttention(12, 3, batch_first=True)
    weights = [torch.tensor(weight.numpy().T.copy()) for weight in layer.weights]
    names = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    reference.load_state_dict(dict(zip(names, weights, strict=True)))
    x = rng.normal(size=(4, 5, 12)).astype("float32")
    with torch.no_grad():
        output, _ = reference(*[torch.tensor(x)] * 3)
    np.testing.assert_allclose(layer(x), output.numpy(), atol=1e-5)


def test_round_trip(rng, reload):
    inputs = keras.Input((5, 12))
    model = keras.Model(inputs, SelfAttention(4)(inputs))
    x = rng.normal(size=(2, 5, 12)).astype("float32")
    np.testing.assert_array_equal(reload(model)(x), model(x))


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match="num_heads=5 must divide N"):
        SelfAttention(5)(keras.Input((4, 12)))
