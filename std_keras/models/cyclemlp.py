"""CycleMLP (Chen et al. 2022, arXiv 2107.10224): a pyramid that takes images of any shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from std_keras.errors import InputError
from std_keras.layers import CycleMLPBlock
from std_keras.layers.fan_in_uniform import fan_in_uniform
from std_keras.models import option_checks
from std_keras.models.class_head import class_head
from std_keras.models.image_model import ImageModelSpec
from std_keras.models.registry import register


@dataclass(frozen=True)
class CycleMLPOptions:
    """Options of the family.

    Attributes:
      patch_size: step of the stem's overlapping windows, in pixels; the later stages halve what
        it leaves. Windows measure 2 patch_size - 1 pixels, but at least 3.
      depths: blocks of each stage.
      widths: channels of each stage.
      mlp_ratios: hidden width of the channel MLPs over the stage's width, per stage.
      stochastic_depth: drop probability of the last block; of d blocks in all stages, block i has
        i / (d - 1) of it.
      gelu: "exact" or "tanh".
      layer_norm_epsilon: of all LayerNorms.
    """

    patch_size: int = 4
    depths: tuple[int, ...] = (2, 2, 4, 2)
    widths: tuple[int, ...] = (64, 128, 320, 512)
    mlp_ratios: tuple[int, ...] = (4, 4, 4, 4)
    stochastic_depth: float = 0.0
    gelu: str = "exact"
    layer_norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        option_checks.check_at_least("patch_size", self.patch_size, 1)
        for name in ("depths", "widths", "mlp_ratios"):
            values = getattr(self, name)
            if not values or min(values) < 1 or len(values) != len(self.depths):
                raise InputError(
                    f"{name}={','.join(map(str, values))}: must be one positive number for each "
                    "stage, as many as `depths` has"
                )
        option_checks.check_rate("stochastic_depth", self.stochastic_depth)
        option_checks.check_gelu(self.gelu)
        option_checks.check_layer_norm_epsilon(self.layer_norm_epsilon)


def build_cyclemlp(spec: ImageModelSpec, options: CycleMLPOptions) -> keras.Model:
    """Stages of blocks named "stage_{s}_block_{i}", (B, H, W, N), each at half the resolution.

    Kernels start truncated normal with a standard deviation of 0.02, those of convolutions uniform
    (PyTorch's default, which the published recipe has).

    Raises:
      InputError: the patch size does not divide the image, or leaves less than one pixel to the
        last stage.
    """
    height, width, _ = spec.input_shape
    _check_image(spec.name, (height, width), options.patch_size, halvings=len(options.depths) - 1)

    inputs, x = spec.normalized_input()
    # With the published step of 4, windows of 7 pixels and 2 pixels of padding.
    window, padding = max(3, 2 * options.patch_size - 1), max(1, options.patch_size // 2)
    x = _convolution(x, options.widths[0], window, options.patch_size, padding, "stem")
    blocks, first = sum(options.depths), 0
    for stage, (depth, channels, ratio) in enumerate(
        zip(options.depths, options.widths, options.mlp_ratios, strict=True)
    ):
        if stage > 0:
            x = _convolution(x, channels, 3, 2, 1, f"stage_{stage}_downsample")
        for i in range(depth):
            x = CycleMLPBlock(
                ratio * channels,
                gelu=options.gelu,
                layer_norm_epsilon=options.layer_norm_epsilon,
                stochastic_depth=options.stochastic_depth * (first + i) / max(blocks - 1, 1),
                name=f"stage_{stage}_block_{i}",
            )(x)
        first += depth
    x = keras.layers.LayerNormalization(epsilon=options.layer_norm_epsilon, name="final_norm")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = class_head(spec.num_classes)(x)
    return keras.Model(inputs, logits, name=spec.name)


def _check_image(name: str, image_size: tuple[int, int], patch_size: int, *, halvings: int) -> None:
    """Raises InputError unless every stage halves a resolution that can be halved."""
    least = 2**halvings
    if min(image_size) < least:
        raise InputError(
            f"image_size={min(image_size)}: {name} halves the resolution {halvings} times, so it "
            f"needs at least {least} pixels"
        )
    option_checks.check_patch_size(patch_size, image_size)
    left = min(image_size) // patch_size
    if left < least:
        raise InputError(
            f"patch_size={patch_size} reduces {min(image_size)} pixels to {left}, but {name} "
            f"halves the resolution {halvings} more times; use {min(image_size) // least} or less"
        )


def _convolution(x: Any, channels: int, size: int, stride: int, padding: int, name: str) -> Any:
    # Padding "same" with a stride would pad even sizes on one side only, unlike PyTorch.
    x = keras.layers.ZeroPadding2D(padding, name=f"{name}_padding")(x)
    return keras.layers.Conv2D(
        channels,
        size,
        strides=stride,
        kernel_initializer=fan_in_uniform(),
        name=name,
    )(x)


# The configurations of the authors' code.
_WIDTHS = (64, 128, 320, 512)
for _size, _depths, _widths, _mlp_ratios in (
    ("b1", (2, 2, 4, 2), _WIDTHS, (4, 4, 4, 4)),
    ("b2", (2, 3, 10, 3), _WIDTHS, (4, 4, 4, 4)),
    ("b3", (3, 4, 18, 3), _WIDTHS, (8, 8, 4, 4)),
    ("b4", (3, 8, 27, 3), _WIDTHS, (8, 8, 4, 4)),
    ("b5", (3, 4, 24, 3), (96, 192, 384, 768), (4, 4, 4, 4)),
):
    register(
        f"cyclemlp_{_size}",
        CycleMLPOptions(depths=_depths, widths=_widths, mlp_ratios=_mlp_ratios),
        build_cyclemlp,
    )
