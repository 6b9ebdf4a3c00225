"""Correlation of permuted copies; the two-layer experiment aligns, strong nodes first."""

from __future__ import annotations

import numpy as np
import pytest

from std_keras.research.analysis import specialization
from std_keras.research.analysis.specialization import SyntheticOptions


def test_permuted_copies_match_exactly():
    rng = np.random.default_rng(0)
    teacher = np.maximum(rng.normal(size=(400, 6)), 0.0)
    order = rng.permutation(6)
    student = 3.0 * teacher[:, order] + 7.0
    rho = specialization.correlation(teacher, student)
    np.testing.assert_allclose(rho[order, np.arange(6)], 1.0, atol=1e-9)
    np.testing.assert_allclose(specialization.best_matches(rho), 1.0, atol=1e-9)
    assert specialization.correlation(teacher, -teacher).diagonal() == pytest.approx(-np.ones(6))
    assert specialization.specialized(rho)["0.95"] == 6


def test_correlation_is_pearsons():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(50, 3)), rng.normal(size=(50, 4))
    expected = np.corrcoef(a.T, b.T)[:3, 3:]
    np.testing.assert_allclose(specialization.correlation(a, b), expected, atol=1e-9)


def test_a_dead_node_has_none():
    rho = specialization.correlation(np.random.default_rng(2).normal(size=(9, 2)), np.ones((9, 1)))
    np.testing.assert_array_equal(rho, np.zeros((2, 1)))
    assert specialization.specialized(rho)["0.5"] == 0


def test_the_student_aligns_strong_nodes_first():
    found = specialization.synthetic_two_layer(SyntheticOptions(steps=4000))
    first = found.first_step(0.9)
    assert found.loss[-1] < 0.05 * found.loss[0]
    assert (found.best[-1][:3] > 0.9).all()
    assert found.best[0].max() < 0.9  # Not by chance.
    assert None not in first[:3]
    late = [found.steps[-1] if step is None else step for step in first]
    assert np.mean(late[:3]) < np.mean(late[-3:])
    # Nodes that match a teacher node carry the output.
    aligned = found.matched > 0.95
    assert found.outgoing[aligned].mean() > 2.0 * found.outgoing[~aligned].mean()


def test_other_inputs_are_refused():
    with pytest.raises(ValueError, match="same inputs"):
        specialization.correlation(np.zeros((3, 2)), np.zeros((4, 2)))
