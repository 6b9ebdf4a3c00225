"""Wide residual networks (Zagoruyko and Komodakis 2016, arXiv 1605.07146)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from std_keras.errors import InputError
from std_keras.layers import FusedBatchNorm
from std_keras.layers.fan_in_uniform import fan_in_uniform
from std_keras.models.class_head import class_head
from std_keras.models.convolution import convolution
from std_keras.models.image_model import ImageModelSpec
from std_keras.models.registry import register

_STEM = 16


@dataclass(frozen=True)
class WideResNetOptions:
    """Options of the family.

    Attributes:
      depth: counts the convolutions but the shortcuts', and the class head: 6 n + 4 with n blocks
        in each of three stages.
      widening: channels of the stages as multiples of 16, 32 and 64.
    """

    depth: int = 16
    widening: int = 2

    def __post_init__(self) -> None:
        if self.depth < 10 or self.depth % 6 != 4:
            raise InputError(f"depth={self.depth}: must be 6 n + 4 with n >= 1, such as 16 or 40")
        if self.widening < 1:
            raise InputError(f"widening={self.widening} must be at least 1")


def build_wide_resnet(spec: ImageModelSpec, options: WideResNetOptions) -> keras.Model:
    """Three stages of blocks that normalise before each convolution, without dropout.

    Where a block changes the number of channels, its shortcut is a 1x1 convolution of the
    normalised input. Blocks are named "stage_{s}_block_{i}" after their sum, (B, H, W, channels).

    Raises:
      InputError: the image is smaller than 4 pixels, which two halvings would leave empty.
    """
    height, width, _ = spec.input_shape
    if min(height, width) < 4:
        raise InputError(f"image_size={min(height, width)}: {spec.name} needs at least 4 pixels")

    inputs, x = spec.normalized_input()
    x = convolution(x, _STEM, 3, 1, "stem")
    for stage, base in enumerate((16, 32, 64)):
        for block in range((options.depth - 4) // 6):
            stride = 2 if stage > 0 and block == 0 else 1
            x = _block(x, base * options.widening, stride, f"stage_{stage}_block_{block}")
    x = keras.layers.ReLU(name="final_relu")(FusedBatchNorm(name="final_norm")(x))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = class_head(spec.num_classes, fan_in_uniform())(x)
    return keras.Model(inputs, logits, name=spec.name)


def _block(x: Any, channels: int, stride: int, name: str) -> Any:
    y = keras.layers.ReLU(name=f"{name}_relu_1")(FusedBatchNorm(name=f"{name}_norm_1")(x))
    if x.shape[-1] != channels:
        x = convolution(y, channels, 1, stride, f"{name}_shortcut")
    y = convolution(y, channels, 3, stride, f"{name}_conv_1")
    y = keras.layers.ReLU(name=f"{name}_relu_2")(FusedBatchNorm(name=f"{name}_norm_2")(y))
    y = convolution(y, channels, 3, 1, f"{name}_conv_2")
    return keras.layers.Add(name=name)([x, y])


for _depth, _widening in ((16, 2), (40, 2), (16, 4)):
    register(
        f"wrn_{_depth}_{_widening}",
        WideResNetOptions(depth=_depth, widening=_widening),
        build_wide_resnet,
    )
