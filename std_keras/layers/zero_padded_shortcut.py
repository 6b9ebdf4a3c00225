"""The parameter-free shortcut of a residual network."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="std_keras")
class ZeroPaddedShortcut(keras.layers.Layer):
    """Subsamples by the stride and pads new channels with zeros, the same number on both sides.

    (B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), channels). Option A of He et al. 2016
    (arXiv 1512.03385), with the zeros placed as in akamaster's pytorch_resnet_cifar10.

    Args:
      channels: channels of the result; not fewer than the input has. If the difference is odd, the
        extra channel comes last.
      stride: step in both image directions.
    """

    def __init__(self, channels: int, stride: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.stride = stride

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        if channels is None or self.channels < channels:
            raise ValueError(f"channels={self.channels} is fewer than the input's {channels}")

    def call(self, inputs: Any) -> Any:
        extra = self.channels - inputs.shape[-1]
        padding = [[0, 0], [0, 0], [0, 0], [extra // 2, extra - extra // 2]]
        return ops.pad(inputs[:, :: self.stride, :: self.stride, :], padding)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, height, width, _ = input_shape
        sizes = (None if size is None else -(-size // self.stride) for size in (height, width))
        return (batch, *sizes, self.channels)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"channels": self.channels, "stride": self.stride}
