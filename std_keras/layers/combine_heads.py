"""Ways to predict from a class head and several distillation heads."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

COMBINATIONS = ("average", "confidence", "distillation")


@keras.saving.register_keras_serializable(package="std_keras")
class CombineHeads(keras.layers.Layer):
    """Combines the logits of several heads, all (B, num_classes), into one (B, num_classes).

    Li et al. 2022 predict with the average of the class head and the distillation heads. All
    arithmetic is in float32, whatever the dtype policy of the model.

    - "average": inputs [class, distillation, ...]; (class + mean of the distillation heads) / 2;
    - "confidence": inputs as before; instead of their mean, the distillation heads are weighed per
      example by the softmax, over heads, of their own negative entropies: a surer head counts more;
    - "distillation": inputs [distillation, ...] without the class head, so that a model for this
      prediction needs no class head; the mean.

    Args:
      mode: one of the three.
    """

    def __init__(self, mode: str = "average", dtype: Any = "float32", **kwargs: Any) -> None:
        super().__init__(dtype=dtype, **kwargs)
        if mode not in COMBINATIONS:
            raise ValueError(f"mode={mode!r} is not one of {', '.join(COMBINATIONS)}")
        self.mode = mode

    def build(self, input_shape: Sequence[tuple[int | None, ...]]) -> None:
        needed = 1 if self.mode == "distillation" else 2
        if len(input_shape) < needed or not isinstance(input_shape[0], (tuple, list)):
            raise ValueError(
                f"mode={self.mode!r} needs a list of at least {needed} logits, got shapes "
                f"{input_shape}"
            )

    def call(self, inputs: Sequence[Any]) -> Any:
        if self.mode == "distillation":
            return _mean(inputs)
        class_logits = inputs[0]
        if self.mode == "average" or len(inputs) == 2:
            # A single distillation head has the whole weight.
            return (class_logits + _mean(inputs[1:])) / 2.0
        heads = ops.stack(inputs[1:], axis=1)
        weights = ops.softmax(_negative_entropy(heads), axis=1)
        return (class_logits + ops.sum(weights[..., None] * heads, axis=1)) / 2.0

    def compute_output_shape(
        self, input_shape: Sequence[tuple[int | None, ...]]
    ) -> tuple[int | None, ...]:
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"mode": self.mode}


def _mean(heads: Sequence[Any]) -> Any:
    """By sums, since XNNPACK has no operator that stacks."""
    return functools.reduce(ops.add, heads) / len(heads)


def _negative_entropy(logits: Any) -> Any:
    """Sum of p log p over the last axis; 0 log 0 is 0."""
    log_p = ops.log_softmax(logits, axis=-1)
    p = ops.exp(log_p)
    # A logit of minus infinity gives log p = -inf, and 0 * -inf would be NaN.
    log_p = ops.where(p > 0.0, log_p, ops.zeros_like(log_p))
    return ops.sum(p * log_p, axis=-1)
