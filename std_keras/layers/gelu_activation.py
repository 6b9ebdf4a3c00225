"""GELU as a layer of its own."""

from __future__ import annotations

from typing import Any

import keras

from std_keras.layers.gelu import gelu
from std_keras.layers.mlp import check_gelu


@keras.saving.register_keras_serializable(package="std_keras")
class GELU(keras.layers.Layer):
    """Gaussian error linear unit, element by element, fast in training; see `gelu.gelu`.

    Args:
      kind: "exact" or "tanh".
      **kwargs: as every layer takes them.
    """

    def __init__(self, kind: str = "exact", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind = check_gelu(kind)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return gelu(inputs, kind=self.kind, training=bool(training))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"kind": self.kind}
