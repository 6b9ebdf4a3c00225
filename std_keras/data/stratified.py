"""Which examples are held out: the same fraction of every class, copies of a picture together."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from std_keras.data.randomness import permutation


def held_out_rows(
    labels: np.ndarray, identities: np.ndarray, *, fraction: float, seed: tf.Tensor
) -> np.ndarray:
    """The rows that are held out, in ascending order.

    Every class gives round(fraction * its size) examples, rounded by largest remainders, so that
    round(fraction * n) are held out in all; each class keeps at least one picture. Where copies
    of a picture do not fit into what their class gives, fewer are held out.

    Args:
        labels: (n,) integers.
        identities: (n,), equal for copies of one picture. They stay together, also if they have
            different labels; they count for the class of the first.
        fraction: in (0, 1).
        seed: (2,), see `randomness.derive_seed`.
    """
    _, firsts, pictures = np.unique(identities, return_index=True, return_inverse=True)
    # Numbered by their first example: the choice does not depend on the values of hashes.
    rank = np.empty(len(firsts), np.int64)
    rank[np.argsort(firsts)] = np.arange(len(firsts))
    pictures = rank[pictures]
    classes = np.asarray(labels)[np.sort(firsts)]
    copies = np.bincount(pictures)
    order = permutation(len(copies), seed=seed).numpy()
    given = _examples_per_class(classes, copies, order, fraction=fraction)

    kept = np.bincount(classes, minlength=len(given))
    held_out = np.zeros(len(copies), bool)
    for picture in order:
        of_class = classes[picture]
        if copies[picture] <= given[of_class] and kept[of_class] > 1:
            held_out[picture] = True
            given[of_class] -= copies[picture]
            kept[of_class] -= 1
    return np.flatnonzero(held_out[pictures])


def _examples_per_class(
    classes: np.ndarray, copies: np.ndarray, order: np.ndarray, *, fraction: float
) -> np.ndarray:
    """How many examples each class gives; equal remainders go by the order of the pictures."""
    sizes = np.bincount(classes, weights=copies).astype(np.int64)
    exact = fraction * sizes
    given = np.floor(exact).astype(np.int64)
    present, positions = np.unique(classes[order], return_index=True)
    drawn = np.full(len(sizes), len(order))
    drawn[present] = positions
    by_remainder = np.lexsort((drawn, -(exact - given).round(9)))
    rows = [c for c in by_remainder if sizes[c] > given[c] + 1]  # One must stay.
    given[rows[: max(0, round(fraction * int(sizes.sum())) - int(given.sum()))]] += 1
    return given
