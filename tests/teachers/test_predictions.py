"""The numbers that stand for a teacher's prediction, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from std_keras import losses
from std_keras.teachers import predictions as names
from std_keras.teachers.predictions import PredictionFormat

CLASSES = 20


def softmax(logits):
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


@pytest.fixture
def logits():
    """Of 6 views and 2 teachers."""
    return np.random.default_rng(2).normal(0.0, 4.0, (6, 2, CLASSES)).astype(np.float32)


def round_trip(form, logits):
    return form.decode(form.encode(tf.convert_to_tensor(logits)))


@pytest.mark.parametrize("soft", [False, True])
def test_the_class_and_the_confidence_are_exact(logits, soft):
    kept = round_trip(PredictionFormat(num_classes=CLASSES, soft=soft, half=True, top_k=3), logits)
    np.testing.assert_array_equal(kept[names.CLASS], logits.argmax(-1))
    p = softmax(logits.astype(np.float64))
    np.testing.assert_allclose(kept[names.CONFIDENCE], (p * np.log(p)).sum(-1), atol=1e-5)
    assert (names.LOGITS in kept) is soft


def test_without_a_cache_logits_are_as_they_are(logits):
    kept = round_trip(PredictionFormat(num_classes=CLASSES, soft=True), logits)
    np.testing.assert_array_equal(kept[names.LOGITS], logits)


def test_float16_errs_by_the_distance_to_the_largest_over_2048(logits):
    kept = round_trip(PredictionFormat(num_classes=CLASSES, soft=True, half=True), logits)
    distance = logits.max(-1, keepdims=True) - logits
    error = np.abs(np.asarray(kept[names.LOGITS]) + distance)
    assert (error <= distance / 2048 + 1e-6).all()
    assert error.max() > 0, "nothing was rounded; the test shows nothing"


def test_the_remaining_mass_of_top_k_is_shared_out_evenly(logits):
    form = PredictionFormat(num_classes=CLASSES, soft=True, half=True, top_k=3)
    encoded = form.encode(tf.constant(logits))
    assert {n: v.shape[2:].as_list() for n, v in encoded.items()} == {
        names.CLASS: [],
        names.CONFIDENCE: [],
        names.LOGITS: [3],
        names.TOP_CLASSES: [3],
        names.REST: [],
    }
    p = softmax(logits.astype(np.float64))
    kept = softmax(np.asarray(form.decode(encoded)[names.LOGITS], np.float64))
    order = np.argsort(-p, axis=-1)
    expected = np.empty_like(p)
    rest = np.take_along_axis(p, order[..., 3:], -1).sum(-1, keepdims=True) / (CLASSES - 3)
    np.put_along_axis(expected, order, rest, -1)
    top = order[..., :3]
    np.put_along_axis(expected, top, np.take_along_axis(p, top, -1), -1)
    np.testing.assert_allclose(kept, expected, rtol=5e-3)


def test_impossible_classes_and_huge_logits_stay_finite():
    extreme = np.full((1, 1, CLASSES), -np.inf, np.float32)
    extreme[..., 4] = 1e6
    for top_k in (0, 2):
        form = PredictionFormat(num_classes=CLASSES, soft=True, half=True, top_k=top_k)
        kept = round_trip(form, extreme)[names.LOGITS]
        assert np.isfinite(kept).all()
        p = tf.nn.softmax(kept)
        np.testing.assert_array_equal(p[0, 0], np.eye(CLASSES)[4])
        loss = losses.soft_distillation(tf.zeros((1, CLASSES)), kept[:, 0], temperature=2.0)
        assert np.isfinite(loss).all()


@pytest.mark.parametrize("top_k", [0, 3])
def test_xla_compiles_it(logits, top_k):
    form = PredictionFormat(num_classes=CLASSES, soft=True, half=True, top_k=top_k)
    compiled = tf.function(lambda x: round_trip(form, x), jit_compile=True)(tf.constant(logits))
    for name, value in round_trip(form, logits).items():
        np.testing.assert_allclose(compiled[name], value, rtol=2e-3, atol=1e-6, err_msg=name)
