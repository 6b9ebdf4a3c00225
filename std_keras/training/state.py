"""Everything that training changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from std_keras.losses import mine
from std_keras.training.ema import WeightAverage


@dataclass
class TrainState:
    """Everything that training changes. Create it inside the strategy's scope.

    Attributes:
        model: the student, baseline or teacher.
        outputs: the same weights with every head (and token pair) as an output by name.
        optimizer: of the model.
        average: the moving average of the weights, if there is one.
        token_sets: names of the token sets whose mutual information is estimated.
        critics: one psi for each of them.
        critic_optimizer: of all critics.
        log_averages: (len(critics),) moving averages of MINE, as logarithms.
    """

    model: keras.Model
    outputs: keras.Model
    optimizer: keras.optimizers.Optimizer
    average: WeightAverage | None = None
    token_sets: tuple[str, ...] = ()
    critics: Sequence[mine.Critic] = ()
    critic_optimizer: keras.optimizers.Optimizer | None = None
    log_averages: tf.Variable | None = None

    @property
    def critic_variables(self) -> list[keras.Variable]:
        """The trainable variables of all critics."""
        return [v for critic in self.critics for v in critic.trainable_variables]
