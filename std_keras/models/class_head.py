"""The layer that gives logits."""

from __future__ import annotations

from typing import Any

import keras

from std_keras.models.image_model import full_precision


def class_head(
    num_classes: int,
    kernel_initializer: Any = None,
    *,
    use_bias: bool = True,
    name: str = "classification",
) -> keras.layers.Dense:
    """A linear layer from features (B, F) to logits (B, num_classes), in full precision.

    Args:
      num_classes: size of the head.
      kernel_initializer: as Keras takes it; None for truncated normal with a standard deviation of
        0.02, as most published recipes have it.
      use_bias: whether it adds a bias, which starts at 0.
      name: of the layer.
    """
    return keras.layers.Dense(
        num_classes,
        use_bias=use_bias,
        kernel_initializer=kernel_initializer or keras.initializers.TruncatedNormal(stddev=0.02),
        dtype=full_precision(),
        name=name,
    )
