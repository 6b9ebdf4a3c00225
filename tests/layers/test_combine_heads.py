from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.layers import CombineHeads


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def confidence(class_logits: np.ndarray, heads: list[np.ndarray]) -> np.ndarray:
    """Example by example, from the definition."""
    out = []
    for i, logits in enumerate(class_logits):
        p = [softmax(head[i]) for head in heads]
        negative_entropy = np.array([sum(q * np.log(q) for q in row if q > 0.0) for row in p])
        weights = softmax(negative_entropy)
        mean = sum(w * head[i] for w, head in zip(weights, heads, strict=True))
        out.append((logits + mean) / 2)
    return np.array(out)


def test_average(rng):
    a, b, c = rng.normal(size=(3, 4, 5)).astype("float32")
    np.testing.assert_allclose(CombineHeads()([a, b, c]), (a + (b + c) / 2) / 2, atol=1e-6)


def test_distillation(rng):
    b, c = rng.normal(size=(2, 4, 5)).astype("float32")
    np.testing.assert_allclose(CombineHeads("distillation")([b, c]), (b + c) / 2, atol=1e-6)
    np.testing.assert_allclose(CombineHeads("distillation")([b]), b, atol=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_confidence(rng, scale):
    a, b, c = scale * rng.normal(size=(3, 6, 5)).astype("float32")
    out = CombineHeads("confidence")([a, b, c])
    np.testing.assert_allclose(out, confidence(a, [b, c]), rtol=1e-4, atol=1e-5)


def test_confidence_at_probabilities_zero_and_one():
    """A certain head (entropy 0) against an even one (log 3): weights 3/4 and 1/4."""
    certain = np.array([[1e4, 0.0, -1e4]], "float32")
    even = np.full((1, 3), 8.0, "float32")
    out = CombineHeads("confidence")([np.zeros((1, 3), "float32"), certain, even])
    np.testing.assert_allclose(out, (0.75 * certain + 0.25 * even) / 2, rtol=1e-5)


def test_confidence_of_one_head_is_the_average(rng):
    a, b = rng.normal(size=(2, 4, 5)).astype("float32")
    np.testing.assert_allclose(CombineHeads("confidence")([a, b]), (a + b) / 2, atol=1e-6)


def test_logits_of_minus_infinity_do_not_give_nan_weights():
    head = np.array([[0.0, -np.inf]], "float32")
    out = CombineHeads("confidence")([np.zeros((1, 2), "float32"), head, head])
    np.testing.assert_array_equal(out, head)


def test_float32_under_mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = CombineHeads()
        # 257 has no bfloat16.
        out = layer([np.full((1, 2), 257.0, "float32")] * 2)
    finally:
        keras.config.set_dtype_policy(before)
    assert keras.backend.standardize_dtype(out.dtype) == "float32"
    np.testing.assert_array_equal(out, 257.0)


@pytest.mark.parametrize("mode", ["average", "confidence", "distillation"])
def test_round_trip(rng, reload, mode):
    inputs = [keras.Input((5,)) for _ in range(3)]
    model = keras.Model(inputs, CombineHeads(mode)(inputs))
    x = list(rng.normal(size=(3, 4, 5)).astype("float32"))
    np.testing.assert_array_equal(reload(model)(x), model(x))


def test_bad_mode():
    with pytest.raises(ValueError, match="mode='vote'"):
        CombineHeads("vote")


def test_average_needs_a_distillation_head():
    with pytest.raises(ValueError, match="at least 2"):
        CombineHeads("average")([keras.Input((5,))])
