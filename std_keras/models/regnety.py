"""RegNetY (Radosavovic et al. 2020, arXiv 2003.13678), in timm's form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from std_keras.errors import InputError
from std_keras.layers import FusedBatchNorm, GroupedConv2D, SqueezeExcite, StochasticDepth
from std_keras.models import option_checks
from std_keras.models.class_head import class_head
from std_keras.models.image_model import ImageModelSpec
from std_keras.models.registry import register

_STEM_WIDTH = 32


@dataclass(frozen=True)
class RegNetYOptions:
    """Options of the family: the linear rule of the paper's section 3.3, and what is beside it.

    Attributes:
      depth: number of blocks over all stages (d).
      width: of the first block, before rounding (w_0); a multiple of 8.
      width_slope: growth of the width per block, before rounding (w_a).
      width_multiplier: between the widths of neighbouring stages, before rounding (w_m).
      group_width: channels of a group of the 3x3 convolutions (g).
      stochastic_depth: drop probability of the last block; block i has i / (depth - 1) of it.
    """

    depth: int
    width: int
    width_slope: float
    width_multiplier: float
    group_width: int
    stochastic_depth: float = 0.0

    def __post_init__(self) -> None:
        for name in ("depth", "width", "group_width"):
            option_checks.check_at_least(name, getattr(self, name), 1)
        if self.width % 8:
            raise InputError(f"width={self.width}: must be a multiple of 8")
        if self.width_slope < 0 or self.width_multiplier <= 1:
            raise ValueError(
                f"width_slope={self.width_slope} must be at least 0, and "
                f"width_multiplier={self.width_multiplier} above 1"
            )
        option_checks.check_rate("stochastic_depth", self.stochastic_depth)

    def stages(self) -> list[tuple[int, int]]:
        """(blocks, width) of each stage, by Eq. 2 to 4 of the paper."""
        widths = self.width + self.width_slope * np.arange(self.depth)
        powers = np.round(np.log(widths / self.width) / np.log(self.width_multiplier))
        widths = np.round(self.width * self.width_multiplier**powers / 8) * 8
        values, counts = np.unique(widths.astype(int), return_counts=True)
        stages = []
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            group = min(self.group_width, value)
            stages.append((count, round(value / group) * group))
        return stages


def build_regnety(spec: ImageModelSpec, options: RegNetYOptions) -> keras.Model:
    """A stem and stages that each begin by halving the image.

    Blocks are named "stage_{s}_block_{i}" after their last activation, (B, H, W, channels). Sides
    that are odd are rounded up, so that every image size works.
    """
    inputs, x = spec.normalized_input()
    x = keras.layers.ZeroPadding2D(1, name="stem_padding")(x)
    x = _convolution(x, _STEM_WIDTH, 3, 2, "stem")
    x = keras.layers.ReLU(name="stem_relu")(FusedBatchNorm(name="stem_norm")(x))
    before = 0
    for stage, (depth, width) in enumerate(options.stages()):
        for block in range(depth):
            rate = options.stochastic_depth * before / max(options.depth - 1, 1)
            stride = 2 if block == 0 else 1
            name = f"stage_{stage}_block_{block}"
            x = _block(x, width, min(options.group_width, width), stride, rate, name)
            before += 1
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = class_head(spec.num_classes, keras.initializers.RandomNormal(stddev=0.01))(x)
    return keras.Model(inputs, logits, name=spec.name)


def _block(x: Any, width: int, group_width: int, stride: int, rate: float, name: str) -> Any:
    """1x1, 3x3 in groups, squeeze and excitation, 1x1; a projection where the shape changes."""
    residual = x
    inputs = x.shape[-1]
    if stride != 1 or inputs != width:
        residual = _convolution(x, width, 1, stride, f"{name}_shortcut")
        residual = FusedBatchNorm(name=f"{name}_shortcut_norm")(residual)
    x = _convolution(x, width, 1, 1, f"{name}_conv_1")
    x = keras.layers.ReLU(name=f"{name}_relu_1")(FusedBatchNorm(name=f"{name}_norm_1")(x))
    x = GroupedConv2D(group_width, stride, name=f"{name}_conv_2")(x)
    x = keras.layers.ReLU(name=f"{name}_relu_2")(FusedBatchNorm(name=f"{name}_norm_2")(x))
    # A quarter of what enters the block, not of its own width.
    x = SqueezeExcite(max(1, round(inputs / 4)), name=f"{name}_squeeze_excite")(x)
    x = _convolution(x, width, 1, 1, f"{name}_conv_3")
    # The block starts as its shortcut, as in timm.
    x = FusedBatchNorm(name=f"{name}_norm_3", gamma_initializer="zeros")(x)
    if rate > 0.0:
        x = StochasticDepth(rate, name=f"{name}_stochastic_depth")(x)
    return keras.layers.ReLU(name=name)(keras.layers.Add(name=f"{name}_add")([x, residual]))


def _convolution(x: Any, channels: int, size: int, stride: int, name: str) -> Any:
    """Without padding, which would be on one side only for a stride of 2 and an even size."""
    return keras.layers.Conv2D(
        channels,
        size,
        strides=stride,
        padding="valid",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        name=name,
    )(x)


# timm's regnety_040, regnety_080 and regnety_160: depth, w_0, w_a, w_m and g of the paper's models.
for _name, _depth, _width, _slope, _multiplier, _group_width in (
    ("4gf", 22, 96, 31.41, 2.24, 64),
    ("8gf", 17, 192, 76.82, 2.19, 56),
    ("16gf", 18, 200, 106.23, 2.48, 112),
):
    register(
        f"regnety_{_name}",
        RegNetYOptions(_depth, _width, _slope, _multiplier, _group_width),
        build_regnety,
    )
