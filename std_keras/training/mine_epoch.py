"""The epoch schedule of the mutual information term: one step of Algorithm 1 after each epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from std_keras.config.mine import MineOptions
from std_keras.training.gradients import gradients_or_zeros
from std_keras.training.information import InformationTerm
from std_keras.training.replica_batch import with_static_size
from std_keras.training.state import TrainState


def create_epoch_step(
    state: TrainState, *, strategy: tf.distribute.Strategy, options: MineOptions
) -> Callable[[Mapping[str, tf.Tensor]], dict[str, float]]:
    """Makes the function that does lines 2-7 of Algorithm 1 (Li et al. 2022) on one batch.

    Plain SGD ascends on the bound with the critics and descends on `weight` times the bound with
    the whole student, as the public PyTorch reproduction does once per epoch.

    Args:
        state: the student and its critics.
        strategy: where it runs; call this inside its scope.
        options: `samples` (of a batch, over all replicas), `weight`, and both learning rates.

    Returns:
        A function of a distributed batch that returns the bound of every token set in nats.
    """
    assert options.learning_rate is not None
    information = InformationTerm.of(state, options)
    assert information is not None
    student_variables = state.model.trainable_variables
    student_sgd = keras.optimizers.SGD(options.student_learning_rate)
    student_sgd.build(student_variables)
    critic_sgd = keras.optimizers.SGD(options.learning_rate)
    critic_sgd.build(state.critic_variables)
    replicas = strategy.num_replicas_in_sync

    def sum_up(value: Any) -> Any:
        if replicas == 1:
            return value
        return tf.distribute.get_replica_context().all_reduce("SUM", value)

    def replica_step(batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        batch = with_static_size(batch, batch_size=options.samples, strategy=strategy)
        with tf.GradientTape() as tape:
            outputs = state.outputs(tf.cast(batch["images"], tf.float32), training=True)
            estimate = information.estimate(
                outputs, global_batch_size=options.samples, sum_over_replicas=sum_up
            )
        count = len(student_variables)
        gradients = gradients_or_zeros(
            tape, estimate.surrogate, [*student_variables, *state.critic_variables]
        )
        gradients = [g / replicas for g in sum_up(gradients)]
        information.log_averages.assign(estimate.log_averages)
        student_sgd.apply([information.weight * g for g in gradients[:count]], student_variables)
        critic_sgd.apply([-g for g in gradients[count:]], state.critic_variables)
        return estimate.bounds / replicas

    @tf.function(reduce_retracing=True, autograph=False)
    def step(batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return strategy.reduce("SUM", strategy.run(replica_step, args=(batch,)), axis=None)

    def named(batch: Mapping[str, tf.Tensor]) -> dict[str, float]:
        values = step(batch).numpy().tolist()
        return {f"mine/{name}": v for name, v in zip(state.token_sets, values, strict=True)}

    return named
