"""Optimizers, the learning rate over time, and what weight decay leaves out."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

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
    name: str,
    *,
    learning_rate: keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float,
    momentum: float,
    variables: list[keras.Variable],
    matrices: Sequence[keras.Variable] = (),
    matrix_rate: float = 1.0,
) -> keras.optimizers.Optimizer:
    """Makes and builds the optimizer.

    Weight decay of `adamw` and `muon` is decoupled: variable -= learning_rate * weight_decay *
    variable (Loshchilov & Hutter 2019), as in PyTorch's AdamW. Weight decay of `sgd` is the L2
    gradient term that PyTorch's SGD adds; see `add_l2`.

    Args:
        name: adamw, muon or sgd.
        learning_rate: the schedule.
        weight_decay: of adamw and muon; sgd ignores it here.
        momentum: Nesterov momentum of sgd.
        variables: what will be trained.
        matrices: those of the variables that muon gives its own update; AdamW has the others.
        matrix_rate: their learning rate as a multiple of `learning_rate`.
    """
    optimizer: keras.optimizers.Optimizer
    if name == "adamw":
        optimizer = keras.optimizers.AdamW(
            learning_rate, weight_decay=weight_decay, beta_1=0.9, beta_2=0.999, epsilon=1e-8
        )
        optimizer.exclude_from_weight_decay(var_list=[v for v in variables if not decays(v)])
    elif name == "muon":
        optimizer = Muon(
            learning_rate,
            matrices=matrices,
            matrix_rate=matrix_rate,
            weight_decay=weight_decay,
            epsilon=1e-8,
        )
        optimizer.exclude_from_weight_decay(var_list=[v for v in variables if not decays(v)])
    elif name == "sgd":
        optimizer = keras.optimizers.SGD(learning_rate, momentum=momentum, nesterov=momentum > 0)
    else:
        raise ValueError(f"there is no optimizer {name!r}; use adamw, muon or sgd")
    optimizer.build(variables)
    return optimizer


def add_l2(
    gradients: list[tf.Tensor], variables: list[keras.Variable], weight_decay: float
) -> list[tf.Tensor]:
    """Adds weight_decay * variable to the gradients of the variables that decay."""
    return [
        g + weight_decay * tf.cast(v, g.dtype) if decays(v) else g
        for g, v in zip(gradients, variables, strict=True)
    ]


def clip_by_global_norm(
    gradients: list[tf.Tensor], norm: tf.Tensor, limit: float
) -> list[tf.Tensor]:
    """Scales gradients of global norm `norm` down to `limit` if they are larger."""
    scale = tf.minimum(tf.ones_like(norm), limit / tf.maximum(norm, 1e-12))
    return [g * tf.cast(scale, g.dtype) for g in gradients]
