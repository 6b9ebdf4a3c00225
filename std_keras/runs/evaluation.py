"""How good every head is over a split: accuracy, by class too, confusions and calibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras import custom_gradients, losses
from std_keras.data import Shard, Source, evaluation_batches
from std_keras.errors import Interrupted
from std_keras.layers.compiled import fast_inference

_FIGURES = 3  # Hits, hits among five, loss.
_BINS = 15  # Of the confidence, as many as in Guo et al. 2017.
_CONFUSIONS = 20  # So many pairs are kept, the most frequent first.
_MOST_CLASSES = 1024  # With more, a table of all pairs is not kept: it would be too large.


@dataclass(frozen=True)
class Accuracy:
    """Figures of one head: fractions of the split, and the cross-entropy in nats.

    Attributes:
        top1: how often the largest logit is the label's.
        top5: how often the label's is among the five largest.
        loss: cross-entropy.
        of_classes: top-1 of the examples of each class; None for a class without any.
        examples: how many each class has.
        calibration_error: by how much the probability of the top class and how often it is right
            differ: ECE over 15 bins (Guo et al. 2017, "On Calibration of Modern Neural Networks",
            Eq. 3), from 0 to 1.
        confusions: (class, what it was taken for, how often), the most frequent first, at most 20;
            empty with more than 1,024 classes.
    """

    top1: float
    top5: float
    loss: float
    of_classes: tuple[float | None, ...] = ()
    examples: tuple[int, ...] = ()
    calibration_error: float | None = None
    confusions: tuple[tuple[int, int, int], ...] = ()

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
        if self.calibration_error is not None:
            figures["calibration_error"] = self.calibration_error
        return figures

    def per_class(self, label_names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """By class: `accuracy` (None for a class without examples) and `examples`."""
        return {
            name: {"accuracy": own, "examples": count}
            for name, own, count in zip(label_names, self.of_classes, self.examples, strict=True)
        }

    def confused(self, label_names: Sequence[str]) -> list[dict[str, Any]]:
        """`confusions` with names: `label`, `predicted`, `count`, and its `share` of the class."""
        return [
            {
                "label": label_names[label],
                "predicted": label_names[predicted],
                "count": count,
                "share": count / self.examples[label],
            }
            for label, predicted, count in self.confusions
        ]

    def weakest(self, label_names: Sequence[str]) -> str:
        """The class with the lowest accuracy, and the most frequent confusion, in words."""
        pairs = zip(self.of_classes, label_names, strict=True)
        own, name = min((own, name) for own, name in pairs if own is not None)
        text = f"weakest class {name} {own:.4f}"
        if self.confusions:
            most = self.confused(label_names)[0]
            text += (
                f", most often {most['label']} taken for {most['predicted']} "
                f"({most['count']} times, {most['share']:.0%} of its images)"
            )
        return text


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
        self._classes = int(next(iter(heads.output.values())).shape[-1])
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
        custom_gradients.leave_to_their_graphs()
        sums = np.asarray(sums, np.float64)
        return {
            name: _accuracy(row, self._classes) for name, row in zip(self._names, sums, strict=True)
        }

    def _sum_batches(self, iterator: Iterator[Any]) -> tf.Tensor:
        pairs = _cells(self._classes)
        sums = tf.zeros((len(self._names), _FIGURES + 2 * _BINS + pairs), tf.float32)
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
            rows.append(
                tf.concat(
                    [
                        tf.linalg.matvec(figures, weights),
                        _by_confidence(logits, hit[:, 0], weights),
                        _by_class(best[:, 0], labels, weights, classes),
                    ],
                    axis=0,
                )
            )
        return tf.stack(rows)


def _by_confidence(logits: tf.Tensor, hit: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Sums in bins (lower edge, upper edge] of the top class's probability.

    Returns:
        (2 * _BINS,): how many are right, and their probabilities added up.
    """
    confidence = tf.reduce_max(tf.nn.softmax(logits), axis=-1)
    edges = tf.constant(np.linspace(0, 1, _BINS + 1)[1:-1], tf.float32)
    bins = tf.searchsorted(edges, confidence)
    sums = [tf.math.unsorted_segment_sum(v * weights, bins, _BINS) for v in (hit, confidence)]
    return tf.concat(sums, axis=0)


def _cells(classes: int) -> int:
    return classes**2 if classes <= _MOST_CLASSES else 2 * classes


def _by_class(
    predicted: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, classes: int
) -> tf.Tensor:
    """How often each class was taken for each, by rows; with many classes hits and examples."""
    if classes <= _MOST_CLASSES:
        pairs = tf.cast(labels, tf.int32) * classes + predicted
        return tf.math.unsorted_segment_sum(weights, pairs, classes**2)
    hits = tf.where(predicted == tf.cast(labels, tf.int32), weights, 0.0)
    sums = [tf.math.unsorted_segment_sum(v, labels, classes) for v in (hits, weights)]
    return tf.concat(sums, axis=0)


def _accuracy(sums: np.ndarray, classes: int) -> Accuracy:
    """From the sums of a head over all examples, (_FIGURES + 2 * _BINS + _cells(classes),)."""
    figures, right, confidence, cells = np.split(sums, np.cumsum([_FIGURES, _BINS, _BINS]))
    confusions: tuple[tuple[int, int, int], ...] = ()
    if classes <= _MOST_CLASSES:
        table = cells.reshape(classes, classes)
        hits, examples = table.diagonal(), table.sum(axis=1)
        confusions = _most_frequent(table)
    else:
        hits, examples = np.split(cells, 2)
    total = examples.sum()
    top1, top5, loss = (float(v) for v in figures / total)
    pairs = list(zip(hits, examples, strict=True))
    return Accuracy(
        top1,
        top5,
        loss,
        of_classes=tuple(float(hit / count) if count else None for hit, count in pairs),
        examples=tuple(int(count) for count in examples),
        calibration_error=float(np.abs(right - confidence).sum() / total),
        confusions=confusions,
    )


def _most_frequent(table: np.ndarray) -> tuple[tuple[int, int, int], ...]:
    """The largest cells outside the diagonal of (classes, classes), those of 0 left out."""
    wrong = table.copy()
    np.fill_diagonal(wrong, 0)
    largest = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS]
    places = [divmod(int(place), len(table)) for place in largest]
    return tuple((i, j, int(wrong[i, j])) for i, j in places if wrong[i, j])
