"""The network of CIFAR speed runs (Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU",
arXiv 2404.00498): a whitening stem and three blocks of wide convolutions with max-pooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from std_keras.errors import InputError
from std_keras.layers import GELU, FusedBatchNorm, WhitenedConv2D
from std_keras.layers.dirac import PartialDirac
from std_keras.layers.fan_in_uniform import fan_in_uniform
from std_keras.models.class_head import class_head
from std_keras.models.image_model import ImageModelSpec
from std_keras.models.registry import register

_HEAD_SCALE = 1 / 9
_SMALLEST = 17


@dataclass(frozen=True)
class AirbenchOptions:
    """Options of the family.

    Attributes:
      widths: channels of the three blocks.
      convolutions: of a block: 2, or 3 with a shortcut around the last two.
    """

    widths: tuple[int, int, int] = (64, 256, 256)
    convolutions: int = 2


def build_airbench(spec: ImageModelSpec, options: AirbenchOptions) -> keras.Model:
    """Three blocks of two or three 3x3 convolutions, the first followed by 2x2 max-pooling.

    Blocks are named "stage_{s}_block_0" after their last activation, (B, H, W, channels). What is
    kept from the paper (section 3 and its listing): whitened 2x2 stem whose kernel is frozen,
    filters that begin as the identity, BatchNorm without a scale, GELU, max-pooling to one position
    and a class head without bias of a ninth of the size. BatchNorm's momentum and epsilon are the
    project's (0.9, 1e-5), for the paper's 0.6 goes with its ten epochs.

    Raises:
      InputError: the image is smaller than 17 pixels, of which nothing is left after the stem and
        three halvings but one position; or blocks are to have another number of convolutions.
    """
    if options.convolutions not in (2, 3):
        raise InputError(f"convolutions={options.convolutions}: {spec.name} has 2 or 3 in a block")
    height, width, _ = spec.input_shape
    if min(height, width) < _SMALLEST:
        raise InputError(
            f"image_size={min(height, width)}: {spec.name} needs at least {_SMALLEST} pixels"
        )
    inputs, x = spec.normalized_input()
    x = GELU(name="stem_gelu")(WhitenedConv2D(2, name="stem")(x))
    for stage, channels in enumerate(options.widths):
        name = f"stage_{stage}_block_0"
        x = _convolution(x, channels, f"{name}_conv_1")
        x = keras.layers.MaxPooling2D(2, name=f"{name}_pool")(x)
        x = GELU(name=f"{name}_gelu_1")(FusedBatchNorm(scale=False, name=f"{name}_norm_1")(x))
        shortcut = x
        for i in range(2, options.convolutions + 1):
            x = _convolution(x, channels, f"{name}_conv_{i}")
            x = FusedBatchNorm(scale=False, name=f"{name}_norm_{i}")(x)
            if i == 3:
                x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
            x = GELU(name=name if i == options.convolutions else f"{name}_gelu_{i}")(x)
    x = keras.layers.GlobalMaxPooling2D(name="pool")(x)
    x = keras.layers.Rescaling(_HEAD_SCALE, name="head_scale")(x)
    logits = class_head(spec.num_classes, fan_in_uniform(), use_bias=False)(x)
    return keras.Model(inputs, logits, name=spec.name)


def _convolution(x: Any, channels: int, name: str) -> Any:
    return keras.layers.Conv2D(
        channels,
        3,
        padding="same",
        use_bias=False,
        kernel_initializer=PartialDirac(),
        name=name,
    )(x)


register("airbench94", AirbenchOptions(), build_airbench)
register("airbench95", AirbenchOptions(widths=(128, 384, 384)), build_airbench)
register("airbench96", AirbenchOptions((128, 512, 512), convolutions=3), build_airbench)
