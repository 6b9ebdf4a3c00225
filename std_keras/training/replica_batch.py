"""One replica's share of a batch, with its size known when the graph is made."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf


def with_static_size(
    batch: Mapping[str, tf.Tensor], *, batch_size: int, strategy: tf.distribute.Strategy
) -> dict[str, tf.Tensor]:
    """The same tensors; a cluster's iterators do not tell how many examples they hold.

    XLA needs to know, and MINE, which pairs them.

    Args:
        batch: this replica's share, examples first.
        batch_size: over all replicas.
        strategy: says how many these are.
    """
    size = batch_size // strategy.num_replicas_in_sync
    return {name: tf.ensure_shape(value, (size, *value.shape[1:])) for name, value in batch.items()}
