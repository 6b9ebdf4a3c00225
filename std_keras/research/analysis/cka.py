"""How alike are the representations of two layers: linear CKA, in minibatches.

Sources: Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", arXiv
1905.00414 (linear CKA); Song et al. 2012, JMLR 13 (the unbiased estimator HSIC₁, Eq. 5); Nguyen et
al. 2021, "Do Wide and Deep Networks Learn the Same Things?", arXiv 2010.15327, Eq. 3 (minibatches).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class MinibatchCKA:
    """Linear CKA between all layers of two models, from one pass over minibatches.

    What is kept is a sum for every pair of layers, so memory does not grow with the number of
    examples. The estimate is the ratio of the means over batches of HSIC₁ (not the mean of the
    ratios), whose expectation does not depend on the size of the batches.

    Args:
        first: number of layers of the first model.
        second: number of layers of the second model.
    """

    def __init__(self, first: int, second: int) -> None:
        self._cross = np.zeros((first, second))
        self._first = np.zeros(first)
        self._second = np.zeros(second)
        self.batches = 0

    def add(self, first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> None:
        """Counts one batch.

        Args:
            first: per layer of the first model (n, ...) features, n ≥ 4.
            second: the other model's, of the same n examples.

        Raises:
            ValueError: other numbers of layers or examples.
        """
        if (len(first), len(second)) != self._cross.shape:
            raise ValueError(
                f"{self._cross.shape} layers are expected, got {(len(first), len(second))}"
            )
        sizes = {len(features) for features in (*first, *second)}
        if len(sizes) != 1 or min(sizes) < 4:
            raise ValueError(f"all layers need the same 4 or more examples, got {sorted(sizes)}")
        k = _without_diagonal(np.stack([_gram(features) for features in first]))
        m = _without_diagonal(np.stack([_gram(features) for features in second]))
        self._cross += _hsic(k, m)
        self._first += _own_hsic(k)
        self._second += _own_hsic(m)
        self.batches += 1

    def result(self) -> np.ndarray:
        """(first, second); NaN for a layer whose features do not vary.

        It can leave [0, 1] a little, since HSIC₁ of unrelated layers is around 0, not above it.
        """
        if not self.batches:
            raise ValueError("no batch was added")
        own = np.where(self._first > 0, self._first, np.nan)[:, None]
        other = np.where(self._second > 0, self._second, np.nan)[None, :]
        return self._cross / np.sqrt(own * other)


def _gram(features: np.ndarray) -> np.ndarray:
    """Inner products of the examples (n, n).

    HSIC₁ does not change when the features are centred (it adds terms of one index alone to the
    Gram matrix, which cancel); rounding gets smaller.
    """
    flat = np.asarray(features, np.float32).reshape(len(features), -1)
    flat = flat - flat.mean(axis=0)
    return (flat @ flat.T).astype(np.float64)


def _without_diagonal(grams: np.ndarray) -> np.ndarray:
    grams = np.array(grams, np.float64)
    index = np.arange(grams.shape[-1])
    grams[:, index, index] = 0.0
    return grams


def _hsic(k: np.ndarray, m: np.ndarray) -> np.ndarray:
    """HSIC₁ of every pair of (a, n, n) and (b, n, n), diagonals zero: (a, b)."""
    n = k.shape[-1]
    trace = k.reshape(len(k), -1) @ m.reshape(len(m), -1).T
    rows_k, rows_m = k.sum(axis=-1), m.sum(axis=-1)
    sums = np.outer(rows_k.sum(axis=-1), rows_m.sum(axis=-1)) / ((n - 1) * (n - 2))
    return (trace + sums - 2.0 / (n - 2) * (rows_k @ rows_m.T)) / (n * (n - 3))


def _own_hsic(k: np.ndarray) -> np.ndarray:
    """HSIC₁ of each (n, n) with itself: (a,)."""
    return np.array([_hsic(one[None], one[None])[0, 0] for one in k])
