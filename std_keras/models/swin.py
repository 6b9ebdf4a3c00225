"""Swin transformers (Liu et al. 2021, arXiv 2103.14030)."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from std_keras.errors import InputError
from std_keras.layers import PatchMerging, SwinBlock
from std_keras.layers.fan_in_uniform import fan_in_uniform
from std_keras.models import option_checks
from std_keras.models.class_head import class_head
from std_keras.models.image_model import ImageModelSpec
from std_keras.models.registry import register

_STAGES = 4


@dataclass(frozen=True)
class SwinOptions:
    """Options of the family.

    Attributes:
      patch_size: side of a square patch, in pixels.
      width: channels of the first stage; each further stage has twice as many.
      depth: number of blocks over all stages; the third stage has those that the others, with two
        each, leave.
      window_size: side of a window, in patches; a smaller map is one window.
      head_dim: channels of an attention head; divides the width.
      stochastic_depth: drop probability of the last block; block i has i / (depth - 1) of it.
      gelu: "exact" or "tanh".
      layer_norm_epsilon: of all LayerNorms.
    """

    patch_size: int = 4
    width: int = 96
    depth: int = 12
    window_size: int = 7
    head_dim: int = 32
    stochastic_depth: float = 0.0
    gelu: str = "exact"
    layer_norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("patch_size", "width", "window_size", "head_dim"):
            option_checks.check_at_least(name, getattr(self, name), 1)
        option_checks.check_at_least("depth", self.depth, 7)
        option_checks.check_attention_heads(self.width, self.head_dim)
        option_checks.check_rate("stochastic_depth", self.stochastic_depth)
        option_checks.check_gelu(self.gelu)
        option_checks.check_layer_norm_epsilon(self.layer_norm_epsilon)


def build_swin(spec: ImageModelSpec, options: SwinOptions) -> keras.Model:
    """Four stages of blocks on maps (B, H, W, N), named "stage_{s}_block_{i}".

    Every second block of a stage shifts its windows by half a window.

    Raises:
      InputError: patches, halvings or windows do not divide the image.
    """
    _check_sizes(spec, options)
    epsilon = options.layer_norm_epsilon

    inputs, x = spec.normalized_input()
    x = keras.layers.Conv2D(
        options.width,
        options.patch_size,
        strides=options.patch_size,
        kernel_initializer=fan_in_uniform(),
        name="stem",
    )(x)
    x = keras.layers.LayerNormalization(epsilon=epsilon, name="stem_norm")(x)
    before = 0
    for stage, depth in enumerate((2, 2, options.depth - 6, 2)):
        if stage > 0:
            x = PatchMerging(epsilon, name=f"stage_{stage}_merging")(x)
        width = options.width * 2**stage
        for block in range(depth):
            x = SwinBlock(
                width // options.head_dim,
                4 * width,
                window_size=options.window_size,
                shift=options.window_size // 2 if block % 2 else 0,
                gelu=options.gelu,
                layer_norm_epsilon=epsilon,
                stochastic_depth=options.stochastic_depth * before / (options.depth - 1),
                name=f"stage_{stage}_block_{block}",
            )(x)
            before += 1
    x = keras.layers.LayerNormalization(epsilon=epsilon, name="final_norm")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = class_head(spec.num_classes)(x)
    return keras.Model(inputs, logits, name=spec.name)


def _check_sizes(spec: ImageModelSpec, options: SwinOptions) -> None:
    sides = spec.input_shape[:2]
    option_checks.check_patch_size(options.patch_size, sides)
    image = str(sides[0]) if sides[0] == sides[1] else f"{sides[0]}x{sides[1]}"
    maps = [side // options.patch_size for side in sides]
    halvings = 2 ** (_STAGES - 1)
    if any(side % halvings for side in maps):
        raise InputError(
            f"image_size={image}: {spec.name} with patch_size={options.patch_size} halves its "
            f"map three times; use a multiple of {options.patch_size * halvings}, or a "
            "`patch_size` that makes it one"
        )
    if not _divides(options.window_size, maps):
        # The whole map always fits, so there are some; a window of 1 would be no attention.
        fitting = [size for size in range(2, max(maps) + 1) if _divides(size, maps)]
        alternatives = ", ".join(map(str, fitting[:-1]))
        alternatives = f"{alternatives} or {fitting[-1]}" if alternatives else str(fitting[-1])
        raise InputError(
            f"image_size={image}: {spec.name} with patch_size={options.patch_size} has maps of "
            f"{maps[0]}x{maps[1]} patches and their halves, which windows of "
            f"{options.window_size}x{options.window_size} do not divide; use "
            f"window_size={alternatives}, or another `image_size` or `patch_size`"
        )


def _divides(window: int, maps: list[int]) -> bool:
    sizes = [side // 2**stage for side in maps for stage in range(_STAGES)]
    return all(size % min(window, size) == 0 for size in sizes)


# Section 3.3 of the paper.
for _size, _width, _depth in (("t", 96, 12), ("s", 96, 24), ("b", 128, 24)):
    register(f"swin_{_size}", SwinOptions(width=_width, depth=_depth), build_swin)
