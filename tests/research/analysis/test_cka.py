"""Exact identities of linear CKA, HSIC₁ as a sum over quadruples, minibatches against full."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from std_keras.research.analysis.cka import MinibatchCKA


def linear_cka(x, y):
    """Kornblith et al. 2019: ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) of all examples, centred."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return np.sum((y.T @ x) ** 2) / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)


def unbiased_hsic(k, m):
    """Song et al. 2012, Eq. 5, of Gram matrices."""
    n, ones = len(k), np.ones(len(k))
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    sums = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return (np.trace(k @ m) + sums - 2 / (n - 2) * ones @ k @ m @ ones) / (n * (n - 3))


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6)) * np.arange(1, 7)
    return x, x @ rng.normal(size=(6, 9)) + 3.0 * rng.normal(size=(300, 9))


def orthogonal(size, seed=1):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def minibatch(x, y, size):
    sums = MinibatchCKA(1, 1)
    for start in range(0, len(x), size):
        sums.add([x[start : start + size]], [y[start : start + size]])
    return sums.result()[0, 0]


def test_x_with_x_rotated_scaled_and_shifted_is_one(features):
    x, y = features

    def cka(a, b):
        return minibatch(a, b, 50)

    assert cka(x, x) == pytest.approx(1.0, abs=1e-6)
    assert cka(x, 7.0 * x @ orthogonal(6) + 5.0) == pytest.approx(1.0, abs=1e-5)
    assert cka(x, y) == pytest.approx(cka(y, x))
    assert cka(x, x * np.array([1, 0, 0, 0, 0, 0.0])) < 0.9  # Not of any linear map.


def test_unrelated_gaussians_are_around_zero():
    """The biased estimate over all is about sqrt(d1 d2) / n, here a quarter."""
    rng = np.random.default_rng(2)
    pairs = [rng.normal(size=(2, 64, 20)) for _ in range(20)]
    assert abs(np.mean([minibatch(x, y, 32) for x, y in pairs])) < 0.02


def test_hsic_is_the_mean_over_quadruples():
    """Song et al. 2012, Eq. 4: over all (i, j, q, r) without repetition."""
    rng = np.random.default_rng(3)
    n = 7
    x, y = rng.normal(size=(n, 3)), rng.normal(size=(n, 2))
    k, m = x @ x.T, y @ y.T
    total, count = 0.0, 0
    for i, j, q, r in itertools.permutations(range(n), 4):
        total += k[i, j] * (m[i, j] + m[q, r] - 2.0 * m[i, q])
        count += 1
    assert unbiased_hsic(k, m) == pytest.approx(total / count)


def test_minibatches_against_all_at_once(features):
    x, y = features
    x, y = (np.tile(values, (8, 1)) for values in features)
    rng = np.random.default_rng(5)
    order = rng.permutation(len(x))
    x = x[order] + 0.1 * rng.normal(size=x.shape)
    y = y[order] + 0.1 * rng.normal(size=y.shape)
    full = linear_cka(x, y)  # 2400 examples: its bias is below 0.01.
    for size in (20, 100, 600):
        assert minibatch(x, y, size) == pytest.approx(full, abs=0.03)


def test_ratio_of_means_of_all_pairs_of_layers(features):
    x, y = features
    first, second = [x, y[:, :4], x**2], [y, x]
    sums = MinibatchCKA(3, 2)
    pairs = np.zeros((3, 2, 3))
    for start in range(0, 300, 60):
        rows = slice(start, start + 60)
        sums.add([a[rows] for a in first], [b[rows] for b in second])
        for i, a in enumerate(first):
            for j, b in enumerate(second):
                k, m = a[rows] @ a[rows].T, b[rows] @ b[rows].T
                pairs[i, j] += unbiased_hsic(k, m), unbiased_hsic(k, k), unbiased_hsic(m, m)
    expected = pairs[..., 0] / np.sqrt(pairs[..., 1] * pairs[..., 2])
    np.testing.assert_allclose(sums.result(), expected, rtol=1e-4)


def test_memory_does_not_grow_with_the_examples(features):
    x, y = features
    sums = MinibatchCKA(1, 1)

    def held():
        return sum(v.nbytes for v in vars(sums).values() if isinstance(v, np.ndarray))

    before, names = held(), set(vars(sums))
    for _ in range(10):
        sums.add([x], [y])
    assert held() == before == 3 * 8
    assert set(vars(sums)) == names


def test_a_layer_that_does_not_vary_has_no_value(features):
    x, _ = features
    sums = MinibatchCKA(2, 1)
    sums.add([np.ones((300, 4)), x], [x])
    assert np.isnan(sums.result()[0, 0])
    assert sums.result()[1, 0] == pytest.approx(1.0, abs=1e-6)


def test_refused(features):
    x, y = features
    sums = MinibatchCKA(1, 1)
    with pytest.raises(ValueError, match="no batch"):
        sums.result()
    with pytest.raises(ValueError, match="4 or more"):
        sums.add([x[:3]], [y[:3]])
    with pytest.raises(ValueError, match="layers are expected"):
        sums.add([x], [y, y])
