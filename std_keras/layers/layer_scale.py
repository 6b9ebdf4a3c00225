"""A small learned scale per channel at the end of a residual branch."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="std_keras")
class LayerScale(keras.layers.Layer):
    """scale * x per channel: (..., N) -> (..., N).

    Touvron et al. 2021, CaiT, arXiv 2103.17239, Eq. 4: with a small start, every residual block of
    a deep network begins close to the identity.

    Args:
      initial: value of the scale at the start.
    """

    def __init__(self, initial: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(f"input shape {tuple(input_shape)} must have a fixed last size")
        self.scale = self.add_weight(
            name="scale",
            shape=(channels,),
            initializer=keras.initializers.Constant(self.initial),
        )

    def call(self, inputs: Any) -> Any:
        return self.scale * inputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"initial": self.initial}
