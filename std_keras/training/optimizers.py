"""Optimizers, the learning rate over time, and what weight decay leaves out."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from std_keras.config.optimization import OptimizationOptions
from std_keras.training.adamw import AdamW
from std_keras.training.muon import Muon


def learning_rate_schedule(
    *, peak: float, floor: float, warmup_steps: int, total_steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up from 0 to `peak`, then half a cosine down to `floor` at `total_steps`."""
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup_steps else peak,
        decay_steps=max(1, total_steps - warmup_steps),
        alpha=floor / peak,
        warmup_target=peak if warmup_steps else None,
        warmup_steps=warmup_steps,
    )


def create_schedule(
    options: OptimizationOptions, *, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate of a whole run, by step."""
    peak, floor = options.applied_learning_rates()
    return learning_rate_schedule(
        peak=peak,
        floor=floor,
        warmup_steps=round((options.warmup_epochs or 0) * steps_per_epoch),
        total_steps=options.epochs * steps_per_epoch,
    )


def decays(variable: keras.Variable) -> bool:
    """Whether weight decay applies: to matrices and kernels.

    Not to biases (Swin's relative position bias is a matrix), norms, tokens and position
    embeddings.
    """
    kind = variable.name.split("_")[-1]
    return len(variable.shape) > 1 and kind not in ("bias", "embedding", "token")


def is_token(variable: keras.Variable) -> bool:
    """Whether this is a learned token: of a token set, or DeiT's among the patches."""
    return variable.name.split("_")[-1] == "token"


def create_optimizer(
    options: OptimizationOptions,
    *,
    learning_rate: keras.optimizers.schedules.LearningRateSchedule | float,
    variables: list[keras.Variable],
    matrices: Sequence[keras.Variable] = (),
    iteration_dtype: str | None = None,
) -> keras.optimizers.Optimizer:
    """Makes and builds the optimizer.

    Weight decay of `adamw` and `muon` is decoupled: variable -= learning_rate * weight_decay *
    variable (Loshchilov & Hutter 2019), as in PyTorch's AdamW. Weight decay of `sgd` is the L2
    gradient term that PyTorch's SGD adds; see `add_l2`.

    Args:
        options: `optimizer`, the `weight_decay` of adamw and muon, the Nesterov `momentum` of
            sgd, and the `muon_learning_rate_ratio`.
        learning_rate: the schedule, or a constant.
        variables: what will be trained.
        matrices: those of the variables that muon gives its own update; AdamW has the others.
        iteration_dtype: of muon; see `Muon`.

    Raises:
        ValueError: if the options are not resolved.
    """
    if options.weight_decay is None:
        raise ValueError("weight_decay is not resolved; call std_keras.config.resolve first")
    optimizer: keras.optimizers.Optimizer
    if options.optimizer == "adamw":
        optimizer = AdamW(
            learning_rate,
            weight_decay=options.weight_decay,
            beta_1=0.9,
            beta_2=0.999,
            epsilon=1e-8,
        )
        optimizer.exclude_from_weight_decay(var_list=[v for v in variables if not decays(v)])
    elif options.optimizer == "muon":
        optimizer = Muon(
            learning_rate,
            matrices=matrices,
            matrix_rate=options.muon_learning_rate_ratio,
            iteration_dtype=iteration_dtype,
            weight_decay=options.weight_decay,
            epsilon=1e-8,
        )
        optimizer.exclude_from_weight_decay(var_list=[v for v in variables if not decays(v)])
    else:
        optimizer = keras.optimizers.SGD(
            learning_rate, momentum=options.momentum, nesterov=options.momentum > 0
        )
    optimizer.build(variables)
    return optimizer


def add_l2(
    gradients: list[tf.Tensor], variables: list[keras.Variable], weight_decay: float
) -> list[tf.Tensor]:
    """Adds weight_decay * variable to the gradients of the variables that decay.

    Args:
        gradients: of the loss, one of the shape of its variable for each.
        variables: in the same order.
        weight_decay: of the term weight_decay / 2 * ‖variable‖² in the loss.
    """
    return [
        g + weight_decay * tf.cast(v, g.dtype) if decays(v) else g
        for g, v in zip(gradients, variables, strict=True)
    ]


def clip_by_global_norm(
    gradients: list[tf.Tensor], norm: tf.Tensor, limit: float
) -> list[tf.Tensor]:
    """Scales gradients down to a global norm of `limit` if theirs is larger.

    Args:
        gradients: of any shapes.
        norm: (), the root of the sum of the squares of all of them.
        limit: in the same unit, positive.
    """
    scale = tf.minimum(tf.ones_like(norm), limit / tf.maximum(norm, 1e-12))
    return [g * tf.cast(scale, g.dtype) for g in gradients]
