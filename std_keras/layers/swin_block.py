"""One block of the Swin transformer."""

from __future__ import annotations

from typing import Any

import keras

from std_keras.layers.transformer_block import TransformerBlock
from std_keras.layers.window_attention import WindowAttention


@keras.saving.register_keras_serializable(package="std_keras")
class SwinBlock(TransformerBlock):
    """A transformer block on a map, with attention in windows: (B, H, W, N) -> (B, H, W, N).

    Liu et al. 2021, arXiv 2103.14030, Eq. 3.

    Args:
      num_heads: of the attention; divides N.
      mlp_dim: hidden width of the MLP.
      window_size: side of a window in patches.
      shift: of the windows, in patches.
      **kwargs: of `TransformerBlock`.
    """

    def __init__(
        self, num_heads: int, mlp_dim: int, window_size: int = 7, shift: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(num_heads, mlp_dim, **kwargs)
        self.window_size = window_size
        self.shift = shift

    def _attention_layer(self) -> keras.layers.Layer:
        return WindowAttention(
            self.num_heads,
            self.window_size,
            self.shift,
            dtype=self.dtype_policy,
            name="attention",
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"window_size": self.window_size, "shift": self.shift}
