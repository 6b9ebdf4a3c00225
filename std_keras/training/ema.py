"""The exponential moving average of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from std_keras.training.shared_function import shared


def effective_decay(decay: float, updates: tf.Tensor | float) -> tf.Tensor:
    """The decay of the next update, after `updates` earlier ones: min(decay, t / (t + 9)).

    It starts at 0, so the first update copies the weights and the initial value never counts: the
    average needs no correction for its start. Until t/(t+9) reaches `decay` it covers about the
    last tenth of the run.
    """
    t = tf.cast(updates, tf.float32)
    return tf.minimum(tf.constant(decay, tf.float32), t / (t + 9.0))


class WeightAverage(tf.Module):
    """Moving averages of every floating-point variable of a model, BatchNorm statistics included.

    Create it inside the strategy's scope.

    Args:
        model: whose weights are averaged.
        decay: the decay that is reached after the warm-up.
    """

    def __init__(self, model: keras.Model, *, decay: float) -> None:
        super().__init__()
        self._decay = decay
        self._sources = [v for v in model.variables if "float" in str(v.dtype)]
        self._averages = [
            tf.Variable(v.numpy(), trainable=False, dtype=v.dtype, name="average")
            for v in self._sources
        ]

    @property
    def averages(self) -> list[tf.Variable]:
        """The averages, in the order of the model's variables."""
        return list(self._averages)

    @tf.autograph.experimental.do_not_convert
    def update(self, updates: tf.Tensor) -> None:
        """Moves the averages; call it in cross-replica context after `updates` earlier calls."""
        strategy = tf.distribute.get_strategy()
        keep = effective_decay(self._decay, updates)
        move = shared(_move)
        for average, source in zip(self._averages, self._sources, strict=True):
            # Every device updates its own copy, so nothing is sent anywhere.
            strategy.extended.update(average, move, args=(source.value, keep), group=False)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Puts the averages into the model for the length of the block."""
        kept = [v.numpy() for v in self._sources]
        self.copy_to_model()
        try:
            yield
        finally:
            for source, value in zip(self._sources, kept, strict=True):
                source.assign(value)

    def copy_to_model(self) -> None:
        """Overwrites the model's weights by their averages."""
        for source, average in zip(self._sources, self._averages, strict=True):
            source.assign(average.numpy())


def _move(average: tf.Variable, source: tf.Variable, keep: tf.Tensor) -> None:
    keep = tf.cast(keep, average.dtype)
    average.assign(keep * average + (1.0 - keep) * source)
