"""Top-1, top-5, loss and the accuracy of each class, of every head over a split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras import losses
from std_keras.data import Shard, Source, evaluation_batches
from std_keras.errors import Interrupted
from std_keras.layers.compiled import fast_inference

_FIGURES = 3  # Hits, hits among five, loss; the hits by class follow them.


@dataclass(frozen=True)
class Accuracy:
    """Figures of one head: fractions of the split, and the cross-entropy in nats.

    Attributes:
        top1: how often the largest logit is the label's.
        top5: how often the label's is among the five largest.
        loss: cross-entropy.
        of_classes: top-1 of the examples of each class; None for a class without any.
        examples: how many each class has.
    """

    top1: float
    top5: float
    loss: float
    of_classes: tuple[float | None, ...] = ()
    examples: tuple[int, ...] = ()

    @property
    def balanced_accuracy(self) -> float:
        """The mean of `of_classes`, whatever their sizes (classes without examples left out)."""
        known = [own for own in self.of_classes if own is not None]
        return sum(known) / len(known) if known else math.nan

    def as_dict(self) -> dict[str, float]:
        """The figures of the whole split by name."""
        figures = {"top1": self.top1, "top5": self.top5, "loss": self.loss}
        if self.of_classes:
            figures["balanced_accuracy"] = self.balanced_accuracy
        return figures

    def per_class(self, label_names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """By class: `accuracy` (None for a class without examples) and `examples`."""
        return {
            name: {"accuracy": own, "examples": count}
            for name, own, count in zip(label_names, self.of_classes, self.examples, strict=True)
        }

    def weakest(self, label_names: Sequence[str]) -> str:
        """The class with the lowest accuracy, in words."""
        pairs = zip(self.of_classes, label_names, strict=True)
        own, name = min((own, name) for own, name in pairs if own is not None)
        return f"weakest class {name} {own:.4f}"


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
        return {
            name: _accuracy(row, sums[-1]) for name, row in zip(self._names, sums[:-1], strict=True)
        }

    def _sum_batches(self, iterator: Iterator[Any]) -> tf.Tensor:
        classes = next(iter(self._heads.output.values())).shape[-1]
        sums = tf.zeros((len(self._names) + 1, _FIGURES + classes), tf.float32)
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
            of_classes = tf.math.unsorted_segment_sum(hit[:, 0] * weights, labels, classes)
            rows.append(tf.concat([tf.linalg.matvec(figures, weights), of_classes], axis=0))
        totals = tf.fill((_FIGURES,), tf.reduce_sum(weights))
        examples = tf.math.unsorted_segment_sum(weights, labels, classes)
        return tf.stack([*rows, tf.concat([totals, examples], axis=0)])


def _accuracy(hits: np.ndarray, examples: np.ndarray) -> Accuracy:
    """From two rows of sums, (_FIGURES + classes,): those of a head, and how many there were."""
    top1, top5, loss = (float(v) for v in hits[:_FIGURES] / examples[0])
    pairs = list(zip(hits[_FIGURES:], examples[_FIGURES:], strict=True))
    return Accuracy(
        top1,
        top5,
        loss,
        of_classes=tuple(float(hit / count) if count else None for hit, count in pairs),
        examples=tuple(int(count) for _, count in pairs),
    )
