"""ResMLP (Touvron et al. 2021, arXiv 2105.03404)."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from std_keras.layers import Affine, ResMLPBlock
from std_keras.layers.fan_in_uniform import fan_in_uniform
from std_keras.models import option_checks
from std_keras.models.class_head import class_head
from std_keras.models.image_model import ImageModelSpec
from std_keras.models.patch_stem import patch_stem
from std_keras.models.registry import register


@dataclass(frozen=True)
class ResMLPOptions:
    """Options of the family.

    Attributes:
      patch_size: side of a square patch, in pixels.
      width: channels N of a patch's features.
      depth: number of blocks.
      channel_mlp_dim: hidden width of channel mixing; None is four times the width.
      layer_scale: initial scale of the residual branches; the deeper, the smaller.
      stochastic_depth: drop probability, the same in all blocks as in the public code.
      gelu: "exact" or "tanh".
    """

    patch_size: int = 16
    width: int = 384
    depth: int = 12
    channel_mlp_dim: int | None = None
    layer_scale: float = 0.1
    stochastic_depth: float = 0.0
    gelu: str = "exact"

    def __post_init__(self) -> None:
        for name in ("patch_size", "width", "depth", "channel_mlp_dim"):
            value = getattr(self, name)
            if value is not None:
                option_checks.check_at_least(name, value, 1)
        option_checks.check_at_least("layer_scale", self.layer_scale, 0.0)
        option_checks.check_rate("stochastic_depth", self.stochastic_depth)
        option_checks.check_gelu(self.gelu)


def build_resmlp(spec: ImageModelSpec, options: ResMLPOptions) -> keras.Model:
    """Patches, blocks without any normalisation by statistics, a mean, and a head.

    Kernels start truncated normal with a standard deviation of 0.02, the stem's uniform (PyTorch's
    default, which the published recipe has).

    Raises:
      InputError: the patch does not divide the image.
    """
    inputs, x = patch_stem(
        spec,
        patch_size=options.patch_size,
        width=options.width,
        kernel_initializer=fan_in_uniform(),
    )
    for i in range(options.depth):
        x = ResMLPBlock(
            options.channel_mlp_dim or 4 * options.width,
            options.layer_scale,
            gelu=options.gelu,
            stochastic_depth=options.stochastic_depth,
            name=f"block_{i}",
        )(x)
    x = Affine(name="final_norm")(x)
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    logits = class_head(spec.num_classes)(x)
    return keras.Model(inputs, logits, name=spec.name)


# Table 1 and section 2 of the paper; the scales are those of the authors' code. The code's B24 has
# patches of 8 pixels; the students of Li et al. 2022 (115.7 M parameters) have 16.
for _name, _width, _depth, _patch_size, _layer_scale in (
    ("s12", 384, 12, 16, 0.1),
    ("s24", 384, 24, 16, 1e-5),
    ("s36", 384, 36, 16, 1e-6),
    ("b24", 768, 24, 16, 1e-6),
    ("b24_8", 768, 24, 8, 1e-6),
):
    register(
        f"resmlp_{_name}",
        ResMLPOptions(patch_size=_patch_size, width=_width, depth=_depth, layer_scale=_layer_scale),
        build_resmlp,
    )
