"""The matrix by hand, accuracies by class against a loop, and the limits of the divergence."""

from __future__ import annotations

import math

import numpy as np
import pytest

from std_keras.research.analysis import disagreement


def test_matrix_by_hand():
    decisions = np.array([[0, 1, 2, 0], [0, 1, 1, 1], [2, 2, 2, 2]])
    expected = np.array([[0, 0.5, 0.75], [0.5, 0, 1.0], [0.75, 1.0, 0]])
    np.testing.assert_array_equal(disagreement.disagreement_matrix(decisions), expected)


def test_class_accuracy_and_confusion_against_a_loop():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 300)  # Class 4 has no images.
    decisions = rng.integers(0, 5, (3, 300))
    found = disagreement.class_accuracy(decisions, labels, num_classes=5)
    for voter, row in enumerate(decisions):
        for k in range(4):
            assert found[voter, k] == pytest.approx(np.mean(row[labels == k] == k))
    assert np.isnan(found[:, 4]).all()
    confusion = disagreement.confusion_matrix(decisions[0], labels, num_classes=5)
    assert confusion[2, 3] == np.sum((labels == 2) & (decisions[0] == 3))
    assert confusion.sum() == 300


def test_divergence_has_its_limits():
    rng = np.random.default_rng(2)
    same = rng.normal(size=(6, 5))
    assert disagreement.divergence([same, same, same]) == pytest.approx(np.zeros(6), abs=1e-12)
    certain = [np.where(np.arange(5) == k, 0.0, -np.inf)[None] for k in range(3)]
    assert disagreement.divergence(certain) == pytest.approx([math.log(3)])


def test_divergence_of_two_is_the_mean_kl_to_the_middle():
    rng = np.random.default_rng(3)
    a, b = (rng.dirichlet(np.ones(4), 10) for _ in range(2))
    m = (a + b) / 2
    expected = 0.5 * np.sum(a * np.log(a / m), 1) + 0.5 * np.sum(b * np.log(b / m), 1)
    assert disagreement.divergence([np.log(a), np.log(b)]) == pytest.approx(expected)


def test_one_voter_is_refused():
    with pytest.raises(ValueError, match="at least two"):
        disagreement.divergence([np.zeros((2, 3))])
