"""Residual networks for small images (He et al. 2016, arXiv 1512.03385, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from std_keras.errors import InputError
from std_keras.layers import FusedBatchNorm, ZeroPaddedShortcut
from std_keras.layers.fan_in_uniform import fan_in_uniform
from std_keras.models import option_checks
from std_keras.models.class_head import class_head
from std_keras.models.convolution import convolution
from std_keras.models.image_model import ImageModelSpec
from std_keras.models.registry import register


@dataclass(frozen=True)
class CifarResNetOptions:
    """Options of the family.

    Attributes:
      depth: counts the layers with weights, 6 n + 2 with n blocks in each of three stages.
      shortcut: where the shape changes, "projection" is a 1x1 convolution with BatchNorm (as in
        chenyaofo's pytorch-cifar-models), "identity" subsamples and pads with zeros (option A of
        the paper, as in akamaster's pytorch_resnet_cifar10).
      widths: channels of the stem and of the three stages.
    """

    depth: int = 20
    shortcut: str = "projection"
    widths: tuple[int, int, int, int] = (16, 16, 32, 64)

    def __post_init__(self) -> None:
        if self.depth < 8 or self.depth % 6 != 2:
            raise InputError(f"depth={self.depth}: must be 6 n + 2 with n >= 1, such as 20 or 56")
        option_checks.check_choice("shortcut", self.shortcut, ("projection", "identity"))


def build_cifar_resnet(spec: ImageModelSpec, options: CifarResNetOptions) -> keras.Model:
    """Three stages of basic blocks; in the paper they are 16, 32 and 64 channels wide.

    Blocks are named "stage_{s}_block_{i}" after their last activation, (B, H, W, channels).

    Raises:
      InputError: the image is smaller than 4 pixels, which two halvings would leave empty.
    """
    height, width, _ = spec.input_shape
    if min(height, width) < 4:
        raise InputError(f"image_size={min(height, width)}: {spec.name} needs at least 4 pixels")

    inputs, x = spec.normalized_input()
    stem, *widths = options.widths
    x = convolution(x, stem, 3, 1, "stem")
    x = keras.layers.ReLU(name="stem_relu")(FusedBatchNorm(name="stem_norm")(x))
    for stage, channels in enumerate(widths):
        for block in range((options.depth - 2) // 6):
            stride = 2 if stage > 0 and block == 0 else 1
            name = f"stage_{stage}_block_{block}"
            x = _basic_block(x, channels, stride, options.shortcut, name)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = class_head(spec.num_classes, fan_in_uniform())(x)
    return keras.Model(inputs, logits, name=spec.name)


def _basic_block(x: Any, channels: int, stride: int, shortcut: str, name: str) -> Any:
    residual = x
    changes = stride != 1 or x.shape[-1] != channels
    if changes and shortcut == "projection":
        residual = convolution(x, channels, 1, stride, f"{name}_shortcut")
        residual = FusedBatchNorm(name=f"{name}_shortcut_norm")(residual)
    elif changes:
        residual = ZeroPaddedShortcut(channels, stride, name=f"{name}_shortcut")(x)
    x = convolution(x, channels, 3, stride, f"{name}_conv_1")
    x = keras.layers.ReLU(name=f"{name}_relu_1")(FusedBatchNorm(name=f"{name}_norm_1")(x))
    x = convolution(x, channels, 3, 1, f"{name}_conv_2")
    x = FusedBatchNorm(name=f"{name}_norm_2")(x)
    return keras.layers.ReLU(name=name)(keras.layers.Add(name=f"{name}_add")([x, residual]))


for _depth in (20, 32, 44, 56, 110):
    register(f"cifar_resnet{_depth}", CifarResNetOptions(depth=_depth), build_cifar_resnet)
# Four times as wide, the usual teacher and student of the distillation literature, as in Tian et
# al. 2020 (arXiv 1910.10699) and its code, github.com/HobbitLong/RepDistiller.
for _depth in (8, 32):
    register(
        f"resnet{_depth}x4",
        CifarResNetOptions(depth=_depth, widths=(32, 64, 128, 256)),
        build_cifar_resnet,
    )
