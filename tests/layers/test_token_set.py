from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from std_keras.layers import TokenSet

P, N = 6, 10


def layer_norm(x: np.ndarray, norm: keras.layers.Layer, epsilon: float) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return scaled * norm.gamma.numpy() + norm.beta.numpy()


def mlp(x: np.ndarray, layer: keras.layers.Layer) -> np.ndarray:
    w1, b1, w2, b2 = (weight.astype("float64") for weight in layer.get_weights())
    hidden = x @ w1 + b1
    hidden = hidden * 0.5 * (1.0 + np.vectorize(math.erf)(hidden / math.sqrt(2.0)))
    return hidden @ w2 + b2


def reference(
    layer: TokenSet, features: np.ndarray, spatial: np.ndarray, channel: np.ndarray
) -> dict[str, np.ndarray]:
    """One example at a time, from the definition: T_S is row P+1, T_C is column N+1."""
    results: dict[str, list[np.ndarray]] = {"spatial": [], "channel": []}
    for z, t_s, t_c in zip(features, spatial, channel, strict=True):
        for norm, net in zip(layer.spatial_norms, layer.spatial_mlps, strict=True):
            rows = layer_norm(np.vstack([z, t_s]), norm, layer.layer_norm_epsilon)
            t_s = t_s + np.array([mlp(rows[:, j], net)[0] for j in range(N)])
        for norm, net in zip(layer.channel_norms, layer.channel_mlps, strict=True):
            columns = layer_norm(np.column_stack([z, t_c]), norm, layer.layer_norm_epsilon)
            t_c = t_c + np.array([mlp(columns[i], net)[0] for i in range(P)])
        results["spatial"].append(t_s)
        results["channel"].append(t_c)
    return {kind: np.stack(values) for kind, values in results.items()}


def randomize(layer: keras.layers.Layer, rng: np.random.Generator) -> None:
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.weights])


@pytest.mark.parametrize("token_mlps", [1, 2])
@pytest.mark.parametrize("epsilon", [1e-6, 1e-1])
def test_equals_numpy(rng, token_mlps, epsilon):
    layer = TokenSet(0, "last", token_mlps=token_mlps, layer_norm_epsilon=epsilon)
    z = rng.normal(size=(3, P, N)).astype("float32")
    layer(z)
    randomize(layer, rng)
    expected = reference(
        layer,
        z,
        np.repeat(layer.spatial_token.numpy(), 3, axis=0),
        np.repeat(layer.channel_token.numpy().T, 3, axis=0),
    )
    out = layer(z)
    assert set(out) == {"spatial", "channel"}
    for kind in out:
        np.testing.assert_allclose(out[kind], expected[kind], rtol=1e-4, atol=1e-4)


def test_tokens_as_inputs_equal_numpy(rng):
    layer = TokenSet(0, "last", own_tokens=False)
    z = rng.normal(size=(3, P, N)).astype("float32")
    tokens = {
        "spatial": rng.normal(size=(3, N)).astype("float32"),
        "channel": rng.normal(size=(3, P)).astype("float32"),
    }
    layer(z, tokens=tokens)
    randomize(layer, rng)
    expected = reference(layer, z, **tokens)
    for kind, value in layer(z, tokens=tokens).items():
        np.testing.assert_allclose(value, expected[kind], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [9, 10, 1])
@pytest.mark.parametrize("token_mlps", [1, 2])
def test_only_what_is_used_exists(channels, token_mlps):
    half, four = max(1, channels // 2), 4 * channels
    spatial = token_mlps * (2 * channels + (P + 1) * half + half + half + 1)
    channel = token_mlps * (2 * (channels + 1) + (channels + 1) * four + four + four + 1)
    expected = {
        ("both", True): spatial + channel + channels + P,
        ("spatial", True): spatial + channels,
        ("channel", True): channel + P,
    }
    for (tokens, own), count in expected.items():
        layer = TokenSet(0, "last", tokens=tokens, token_mlps=token_mlps, own_tokens=own)
        out = layer(np.zeros((2, P, channels), "float32"))
        assert layer.count_params() == count
        assert tuple(out) == layer.token_names
    layer = TokenSet(0, "last", token_mlps=token_mlps, own_tokens=False)
    given = {"spatial": np.zeros((2, channels)), "channel": np.zeros((2, P))}
    layer(np.zeros((2, P, channels), "float32"), tokens=given)
    assert layer.count_params() == spatial + channel


def test_tokens_start_truncated_normal():
    layer = TokenSet(0, "last")
    layer.build((None, 300, 500))
    for token, shape in ((layer.spatial_token, (1, 500)), (layer.channel_token, (300, 1))):
        values = token.numpy()
        assert values.shape == shape
        assert np.abs(values).max() <= 0.04
        # Cutting at two standard deviations leaves 0.88 of the standard deviation.
        assert values.std() == pytest.approx(0.0176, rel=0.15)


def test_name_says_teacher_and_site():
    assert TokenSet(3, "intermediate").name == "tokens_3_intermediate"


@pytest.mark.parametrize("tokens", ["both", "spatial", "channel"])
def test_round_trip(rng, reload, tokens):
    inputs = keras.Input((P, N))
    first = TokenSet(0, "intermediate", tokens=tokens, gelu="tanh")
    second = TokenSet(0, "last", tokens=tokens, token_mlps=2, own_tokens=False)
    model = keras.Model(inputs, second(inputs, tokens=first(inputs)))
    x = rng.normal(size=(2, P, N)).astype("float32")
    expected, out = model(x), reload(model)(x)
    for kind in expected:
        np.testing.assert_array_equal(out[kind], expected[kind])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"tokens": "none"}, "tokens='none'"), ({"token_mlps": 0}, "token_mlps=0")],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        TokenSet(0, "last", **arguments)


def test_missing_token_input():
    with pytest.raises(ValueError, match="own_tokens=False"):
        TokenSet(0, "last", own_tokens=False)(np.zeros((2, P, N), "float32"))
