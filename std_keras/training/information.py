"""The mutual information of all token sets of a student, as both schedules need it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from std_keras.losses import mine
from std_keras.training.state import TrainState


def mutual_information(
    state: TrainState,
    outputs: Mapping[str, Any],
    *,
    global_batch_size: int,
    bias_correction: bool,
    sum_over_replicas: Callable[[tf.Tensor], tf.Tensor],
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Estimates I(T_S; T_C) of every token set; call it inside the tape.

    Args:
        state: the token sets, their critics and the moving averages.
        outputs: by token set, the pair {"spatial": (b, N), "channel": (b, P)}.
        global_batch_size: examples that are estimated together, over all replicas.
        bias_correction: see `mine.estimate`.
        sum_over_replicas: see `mine.estimate`.

    Returns:
        A scalar whose gradient, summed over replicas, is that of the mean bound; the bounds
        (token sets,) in nats; and the new moving averages (token sets,) as logarithms.
    """
    assert state.log_averages is not None
    estimates = []
    for index, (name, critic) in enumerate(zip(state.token_sets, state.critics, strict=True)):
        pair = outputs[name]
        joint, marginal = mine.pair_scores(critic, pair["spatial"], pair["channel"])
        estimates.append(
            mine.estimate(
                joint,
                marginal,
                log_average=state.log_averages[index],
                global_batch_size=global_batch_size,
                bias_correction=bias_correction,
                sum_over_replicas=sum_over_replicas,
            )
        )
    surrogate = tf.add_n([e.surrogate for e in estimates]) / len(estimates)
    values = tf.stack([e.value for e in estimates])
    return surrogate, values, tf.stack([e.log_average for e in estimates])
