"""The evaluations of a run in training: both kinds of weights on any part of its data."""

from __future__ import annotations

import tensorflow as tf

from std_keras import models
from std_keras.data import DataSet, Shard
from std_keras.runs.evaluation import Accuracy, Evaluator
from std_keras.training.build import default_head
from std_keras.training.state import TrainState


class Evaluators:
    """Evaluates what is trained, with every part's graph made once.

    Args:
        state: the model, and the moving average of its weights if there is one.
        dataset: what it is evaluated on.
        batch_size: over all replicas.
        strategy: where it runs; create this inside its scope.
        shard: the replicas that this process feeds.
    """

    def __init__(
        self,
        state: TrainState,
        *,
        dataset: DataSet,
        batch_size: int,
        strategy: tf.distribute.Strategy,
        shard: Shard,
    ) -> None:
        self._state, self._dataset, self._batch_size = state, dataset, batch_size
        self._strategy, self._shard = strategy, shard
        self.heads = models.heads_model(state.model)
        self.head = default_head(state.model)
        self.parts: dict[str, Evaluator] = {}

    @property
    def kept_weights(self) -> str:
        """The weights that `model.keras` gets: raw or ema."""
        return "raw" if self._state.average is None else "ema"

    def run(self, part: str) -> dict[str, dict[str, Accuracy]]:
        """The accuracies on `validation` or `test`, by weights (raw, ema) and head."""
        if part not in self.parts:
            self.parts[part] = Evaluator(
                self.heads,
                source=getattr(self._dataset, part),
                batch_size=self._batch_size,
                strategy=self._strategy,
                shard=self._shard,
            )
        accuracies = {"raw": self.parts[part].run()}
        if self._state.average is not None:
            with self._state.average.in_place():
                accuracies["ema"] = self.parts[part].run()
        return accuracies
