from __future__ import annotations

import numpy as np
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from std_keras import losses


def test_weights_are_those_of_scikit_learn():
    labels = np.repeat([0, 1, 2, 3], [50, 1, 7, 20])
    ours = losses.balanced_class_weights(np.bincount(labels))
    theirs = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    np.testing.assert_allclose(np.mean(ours[labels]), 1, rtol=1e-6)
    np.testing.assert_allclose(losses.balanced_class_weights([4, 4, 4]), 1)


def test_a_class_without_examples_takes_no_part():
    np.testing.assert_allclose(losses.balanced_class_weights([6, 0, 2]), [8 / 12, 0, 8 / 4])


def test_the_weight_of_an_example_is_its_classes_whatever_the_smoothing():
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.1, 10, 5).astype(np.float32)
    first, second = rng.integers(0, 5, (2, 8))
    share = rng.uniform(size=8)
    mixed = share[:, None] * np.eye(5)[first] + (1 - share)[:, None] * np.eye(5)[second]
    expected = share * weights[first] + (1 - share) * weights[second]
    for smoothing in (0.0, 0.1, 0.5):
        targets = tf.constant((1 - smoothing) * mixed + smoothing / 5, tf.float32)
        found = losses.example_weights(targets, weights, label_smoothing=smoothing)
        np.testing.assert_allclose(found, expected, rtol=1e-4)
