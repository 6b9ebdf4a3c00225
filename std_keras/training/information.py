"""The mutual information of all token sets of a student, as both schedules of MINE need it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from std_keras.config.mine import MineOptions
from std_keras.losses import mine
from std_keras.training.state import TrainState


@dataclass(frozen=True)
class Information:
    """What a batch tells about I(T_S; T_C) of every token set.

    Attributes:
        surrogate: scalar whose gradient, summed over replicas, is that of the mean bound.
        bounds: (token sets,), in nats; the same on every replica.
        log_averages: (token sets,), the new moving averages as logarithms.
    """

    surrogate: tf.Tensor
    bounds: tf.Tensor
    log_averages: tf.Tensor


@dataclass(frozen=True)
class InformationTerm:
    """λ · I(T_S; T_C), averaged over token sets, as a part of the student's loss.

    Attributes:
        token_sets: their names among the student's outputs.
        critics: one ψ for each of them.
        log_averages: (token sets,), the moving averages, as logarithms.
        weight: λ.
        bias_correction: see `mine.estimate`.
    """

    token_sets: tuple[str, ...]
    critics: Sequence[mine.Critic]
    log_averages: tf.Variable
    weight: float
    bias_correction: bool = True

    @classmethod
    def of(cls, state: TrainState, options: MineOptions) -> InformationTerm | None:
        """The term for the token sets of a student; None if it has no critics."""
        if not state.critics:
            return None
        assert state.log_averages is not None
        return cls(
            token_sets=state.token_sets,
            critics=state.critics,
            log_averages=state.log_averages,
            weight=options.weight,
            bias_correction=options.bias_correction,
        )

    def estimate(
        self,
        outputs: Mapping[str, Any],
        *,
        global_batch_size: int,
        sum_over_replicas: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> Information:
        """Estimates I(T_S; T_C) of every token set; call it inside the tape.

        Args:
            outputs: by token set, the pair {"spatial": (b, N), "channel": (b, P)}.
            global_batch_size: examples that are estimated together, over all replicas.
            sum_over_replicas: see `mine.estimate`; None where there is one replica.
        """
        estimates = []
        for index, (name, critic) in enumerate(zip(self.token_sets, self.critics, strict=True)):
            pair = outputs[name]
            joint, marginal = mine.pair_scores(critic, pair["spatial"], pair["channel"])
            estimates.append(
                mine.estimate(
                    joint,
                    marginal,
                    log_average=self.log_averages[index],
                    global_batch_size=global_batch_size,
                    bias_correction=self.bias_correction,
                    sum_over_replicas=sum_over_replicas or (lambda value: value),
                )
            )
        return Information(
            surrogate=tf.add_n([e.surrogate for e in estimates]) / len(estimates),
            bounds=tf.stack([e.value for e in estimates]),
            log_averages=tf.stack([e.log_average for e in estimates]),
        )
