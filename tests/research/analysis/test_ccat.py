"""Targets near an image and errors with rejection, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from std_keras.research.analysis import ccat


def test_the_share_of_the_label_by_distance():
    """All of it at the image, nothing from epsilon on; the largest pixel counts."""
    difference = np.zeros((4, 2, 2, 1), np.float32)
    difference[1, 0, 0] = -2.0
    difference[2, 1, 1] = 8.0
    difference[3] = 20.0
    share = ccat.share_of_label(difference, epsilon=8.0, rho=10.0)
    np.testing.assert_allclose(share, [1.0, 0.75**10, 0.0, 0.0], rtol=1e-5)


def test_targets_are_distributions_between_label_and_uniform():
    targets = ccat.smoothed_targets(
        tf.constant([2, 0, 1]), tf.constant([1.0, 0.0, 0.5]), num_classes=4
    )
    expected = [[0, 0, 1, 0], [0.25] * 4, [0.125, 0.625, 0.125, 0.125]]
    np.testing.assert_allclose(targets, expected)


def test_the_confidence_in_a_wrong_class():
    logits = np.log([[0.7, 0.2, 0.1], [0.5, 0.1, 0.4]]).astype(np.float32)
    found = ccat.wrong_confidence(tf.constant(logits), tf.constant([0, 2]))
    np.testing.assert_allclose(found, [0.2, 0.5], rtol=1e-6)


def test_the_threshold_accepts_its_part_of_the_right_decisions():
    confidences = np.arange(1, 201) / 200
    correct = np.arange(200) % 2 == 0  # 100 of them.
    threshold = ccat.acceptance_threshold(confidences, correct, accepted=0.99)
    assert np.mean(confidences[correct] >= threshold) == 0.99
    assert threshold == confidences[2]
    assert ccat.acceptance_threshold(confidences, correct, accepted=1.0) == confidences[0]
    assert ccat.acceptance_threshold(confidences, np.zeros(200, bool)) == 0.0


def test_the_error_with_rejection_by_hand():
    """right and sure; wrong and sure; attacked and sure; attacked and unsure; both unsure."""
    given = {
        "clean_wrong": np.array([0, 1, 0, 0, 1]),
        "clean_confidence": np.array([0.9, 0.9, 0.9, 0.9, 0.2]),
        "adversarial_wrong": np.array([0, 1, 1, 1, 1]),
        "adversarial_confidence": np.array([0.9, 0.1, 0.9, 0.2, 0.3]),
    }
    assert ccat.thresholded_error(**given, threshold=0.0) == pytest.approx(4 / 5)
    assert ccat.thresholded_error(**given, threshold=0.5) == pytest.approx(2 / 4)
    assert ccat.thresholded_error(**given, threshold=1.0) == 0.0
