"""The best approximation of logits of a given rank, against cases whose rank is known."""

from __future__ import annotations

import numpy as np
import pytest

from tools.logit_rank import rows


def test_logits_of_rank_eight_are_kept_by_eight_numbers():
    random = np.random.default_rng(0)
    logits = random.normal(size=(500, 8)) @ random.normal(size=(8, 20))
    labels = logits.argmax(axis=1)
    by_rank = {rank: rest for rank, *rest in rows(logits, labels)}
    assert list(by_rank) == [4, 8, 16]
    for rank in (8, 16):
        assert by_rank[rank] == pytest.approx([1, 1, 1])
    variance, agreement, right = by_rank[4]
    assert 0.3 < variance < 0.9
    assert agreement == right < 0.8


def test_the_variance_that_is_left_is_that_of_independent_classes():
    """Of K independent classes with equal variance, r numbers keep r / (K - 1)."""
    logits = 5 * np.random.default_rng(1).normal(size=(20_000, 11))
    labels = np.zeros(20_000, int)
    by_rank = {rank: rest[0] for rank, *rest in rows(logits, labels)}
    assert by_rank == pytest.approx({4: 0.4, 8: 0.8}, abs=0.01)


def test_a_shift_of_all_classes_does_not_count():
    random = np.random.default_rng(2)
    logits = random.normal(size=(100, 20))
    shifted = logits + 100 * random.normal(size=(100, 1))
    labels = logits.argmax(axis=1)
    np.testing.assert_allclose([*rows(logits, labels)], [*rows(shifted, labels)], atol=1e-10)
