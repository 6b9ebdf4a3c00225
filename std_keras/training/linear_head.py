"""A linear class head on features that do not change: multinomial logistic regression.

It minimises the mean cross-entropy plus penalty / 2 times the squared weights, of features that
were scaled to a standard deviation of one. The penalty is chosen on a held-out part, by
cross-entropy: that makes probabilities right too, from which students learn.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from std_keras.errors import Interrupted
from std_keras.runs.evaluation import Accuracy

PENALTIES = tuple(float(f"{penalty:.1e}") for penalty in np.logspace(1, -5, 13))
_MOST_ITERATIONS = 500
_TOLERANCE = 1e-5  # Of the gradient; with 1e-4 the weakest penalties change nothing any more.
_LARGE = 10**8  # Numbers.


@dataclass(frozen=True)
class LinearHead:
    """logits = features @ kernel + bias.

    Attributes:
        kernel: (F, K) float32.
        bias: (K,) float32.
        penalty: of the squared weights.
    """

    kernel: np.ndarray
    bias: np.ndarray
    penalty: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(n, F) to (n, K)."""
        return features @ self.kernel + self.bias


def choose_penalty(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    held_out: tuple[np.ndarray, np.ndarray],
    num_classes: int,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[LinearHead, Accuracy]:
    """Fits heads with weaker and weaker penalties, until that no longer helps.

    Args:
        features: (n, F).
        labels: (n,); every class must be there.
        held_out: other examples, features (m, F) and labels (m,).
        num_classes: K.
        stop: asked before each fit.

    Returns:
        The head with the least cross-entropy on the held-out part, and how good it is there.

    Raises:
        Interrupted: because `stop()` was true.
    """
    best: tuple[LinearHead, Accuracy] | None = None
    worse = 0
    fit = _Fit(features, labels, num_classes=num_classes)
    for penalty in PENALTIES:
        if stop():
            raise Interrupted("interrupted while the class head was fitted; nothing was written")
        head = fit(penalty)
        found = accuracy(head.logits(held_out[0]), held_out[1])
        if best is None or found.loss < best[1].loss:
            best, worse = (head, found), 0
        elif (worse := worse + 1) == 2:
            break
    assert best is not None
    return best


def fit_head(
    features: np.ndarray, labels: np.ndarray, *, penalty: float, num_classes: int
) -> LinearHead:
    """Fits one head; arguments as those of `choose_penalty`."""
    return _Fit(features, labels, num_classes=num_classes)(penalty)


class _Fit:
    """Fits to the same features; each fit starts from the one before."""

    def __init__(self, features: np.ndarray, labels: np.ndarray, *, num_classes: int) -> None:
        if set(np.unique(labels)) != set(range(num_classes)):
            raise ValueError("a class has no example")
        self._mean = features.mean(axis=0, dtype=np.float64)
        std = features.std(axis=0, dtype=np.float64)
        # A feature that never changes says nothing.
        varies = std > 1e-6 * (1.0 + np.abs(self._mean))
        self._scale = varies / np.where(varies, std, 1.0)
        self._rows = ((features - self._mean) * self._scale).astype(np.float32)
        self._labels = labels
        self._model = LogisticRegression(
            solver="lbfgs", warm_start=True, max_iter=_MOST_ITERATIONS, tol=_TOLERANCE
        )

    def __call__(self, penalty: float) -> LinearHead:
        # scikit-learn weighs the sum over examples, not their mean.
        self._model.set_params(C=1.0 / (penalty * len(self._rows)))
        # Threads of a matrix product that takes less than a millisecond wait for each other: fifty
        # times the time, on two busy cores.
        threads = 1 if self._rows.size < _LARGE else None
        with warnings.catch_warnings(), threadpool_limits(threads):
            warnings.simplefilter("ignore")  # Of a fit that is good enough, if not at its end.
            self._model.fit(self._rows, self._labels)
        weights = np.asarray(self._model.coef_, np.float64)
        bias = np.asarray(self._model.intercept_, np.float64)
        if len(weights) == 1:  # Of two classes, the logit of the second over the first.
            weights = np.concatenate([-weights, weights]) / 2
            bias = np.concatenate([-bias, bias]) / 2
        kernel = weights.T * self._scale[:, np.newaxis]
        return LinearHead(
            kernel=kernel.astype(np.float32),
            bias=(bias - self._mean @ kernel).astype(np.float32),
            penalty=penalty,
        )


def accuracy(logits: np.ndarray, labels: np.ndarray) -> Accuracy:
    """The figures of logits (n, K) against labels (n,)."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    own = np.take_along_axis(shifted, labels[:, np.newaxis], axis=1)
    # Of classes with the same logit, argmax takes the first.
    before = np.arange(shifted.shape[1]) < labels[:, np.newaxis]
    rank = ((shifted > own) | (before & (shifted == own))).sum(axis=1)
    loss = np.log(np.exp(shifted).sum(axis=1)) - own[:, 0]
    classes = logits.shape[1]
    examples = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels[rank == 0], minlength=classes)
    return Accuracy(
        top1=float((rank == 0).mean()),
        top5=float((rank < 5).mean()),
        loss=float(loss.mean()),
        of_classes=tuple(h / n if n else None for h, n in zip(hits, examples, strict=True)),
        examples=tuple(int(n) for n in examples),
    )
