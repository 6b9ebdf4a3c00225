"""Top-1, top-5 and loss of every head over a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras import losses
from std_keras.data import Shard, Source, evaluation_batches
from std_keras.errors import Interrupted
from std_keras.layers.compiled import fast_inference


@dataclass(frozen=True)
class Accuracy:
    """Figures of one head: fractions of the split, and the cross-entropy in nats."""

    top1: float
    top5: float
    loss: float

    def as_dict(self) -> dict[str, float]:
        """The figures by name."""
        return asdict(self)


class Evaluator:
    """Evaluates all heads of a model in one pass over a split; compiled once, used often.

    Args:
        heads: a model whose outputs are logits by head (see `models.heads_model`).
        source: the split.
        batch_size: over all replicas.
        strategy: where it runs.
        shard: this worker's share of the batches.
    """

    def __init__(
        self,
        heads: keras.Model,
        *,
        source: Source,
        batch_size: int,
        strategy: tf.distribute.Strategy,
        shard: Shard | None = None,
    ) -> None:
        self._heads = heads
        self._strategy = strategy
        replicas = strategy.num_replicas_in_sync
        # Up to a multiple of the replicas; the padding is weighed with 0.
        batch_size = -(-batch_size // replicas) * replicas
        shard = shard or Shard(local_replicas=replicas, replicas=replicas)
        self._data = strategy.distribute_datasets_from_function(
            lambda _: evaluation_batches(source, batch_size=batch_size, shard=shard)
        )
        self._names = tuple(heads.output)
        self._all = tf.function(self._sum_batches)
        self._one = tf.function(self._sum_batch)

    def run(self, *, stop: Callable[[], bool] | None = None) -> dict[str, Accuracy]:
        """Figures by head, `classification` first.

        Args:
            stop: asked between batches, if given; once true, the evaluation ends.

        Raises:
            Interrupted: because of `stop`.
        """
        if stop is None:
            sums = self._all(iter(self._data)).numpy()
        else:
            sums = 0.0
            for batch in self._data:
                if stop():
                    raise Interrupted("interrupted in the middle of an evaluation")
                sums = sums + self._one(batch).numpy()
        sums = np.asarray(sums, np.float64)
        count = sums[-1, 0]
        return {
            name: Accuracy(*(float(v) for v in row / count))
            for name, row in zip(self._names, sums[:-1], strict=True)
        }

    def _sum_batches(self, iterator: Iterator[Any]) -> tf.Tensor:
        sums = tf.zeros((len(self._names) + 1, 3), tf.float32)
        more = iterator.get_next_as_optional()  # type: ignore[attr-defined]
        while more.has_value():
            sums += self._sum_batch(more.get_value())
            more = iterator.get_next_as_optional()  # type: ignore[attr-defined]
        return sums

    @tf.autograph.experimental.do_not_convert  # The loop over batches alone needs it.
    def _sum_batch(self, batch: Any) -> tf.Tensor:
        per_replica = self._strategy.run(self._replica_sums, args=(batch,))
        return self._strategy.reduce("SUM", per_replica, axis=None)

    def _replica_sums(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        with fast_inference():
            outputs = self._heads(tf.cast(batch["images"], tf.float32), training=False)
        labels, weights = batch["labels"], batch["weights"]
        rows = []
        for name in self._names:
            logits = tf.cast(outputs[name], tf.float32)
            classes = logits.shape[-1]
            best = tf.math.top_k(logits, k=min(5, classes)).indices
            hit = tf.cast(best == labels[:, tf.newaxis], tf.float32)
            loss = losses.cross_entropy(logits, tf.one_hot(labels, classes))
            figures = tf.stack([hit[:, 0], tf.reduce_sum(hit, axis=1), loss])
            rows.append(tf.linalg.matvec(figures, weights))
        total = tf.reduce_sum(weights)
        return tf.stack([*rows, tf.stack([total, total, total])])
