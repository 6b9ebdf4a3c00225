"""The convolution of the residual networks for small images."""

from __future__ import annotations

from typing import Any

import keras


def convolution(x: Any, channels: int, size: int, stride: int, name: str) -> Any:
    """A square convolution without bias that pads as PyTorch's `padding=size // 2` does.

    Args:
        x: symbolic tensor (B, H, W, C).
        channels: of the result.
        size: height and width of the kernel, odd.
        stride: 1 or 2.
        name: of the layer.

    Returns:
        (B, ceil(H / stride), ceil(W / stride), channels).
    """
    if size > 1 and stride > 1:
        # Padding "same" with a stride of 2 would pad even sizes on one side only, unlike PyTorch.
        x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_padding")(x)
    return keras.layers.Conv2D(
        channels,
        size,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        name=name,
    )(x)
