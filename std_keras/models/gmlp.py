"""gMLP (Liu et al. 2021, "Pay Attention to MLPs", arXiv 2105.08050)."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from std_keras.errors import InputError
from std_keras.layers import GMLPBlock
from std_keras.models import option_checks
from std_keras.models.class_head import class_head
from std_keras.models.image_model import ImageModelSpec
from std_keras.models.patch_stem import patch_stem
from std_keras.models.registry import register


@dataclass(frozen=True)
class GMLPOptions:
    """Options of the family.

    Attributes:
      patch_size: side of a square patch, in pixels.
      width: channels N of a patch's features.
      depth: number of blocks.
      channel_mlp_dim: width before the gate, which halves it; even; None is six times the width.
      stochastic_depth: drop probability of the last block; block i has i / (depth - 1) of it.
      gelu: "exact" or "tanh".
      layer_norm_epsilon: of the LayerNorms outside of the gates, which have 1e-5.
    """

    patch_size: int = 16
    width: int = 256
    depth: int = 30
    channel_mlp_dim: int | None = None
    stochastic_depth: float = 0.0
    gelu: str = "exact"
    layer_norm_epsilon: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("patch_size", "width", "depth", "channel_mlp_dim"):
            value = getattr(self, name)
            if value is not None:
                option_checks.check_at_least(name, value, 1)
        if self.channel_mlp_dim is not None and self.channel_mlp_dim % 2:
            raise InputError(
                f"channel_mlp_dim={self.channel_mlp_dim}: must be even, since the gate halves it"
            )
        option_checks.check_rate("stochastic_depth", self.stochastic_depth)
        option_checks.check_gelu(self.gelu)
        option_checks.check_layer_norm_epsilon(self.layer_norm_epsilon)


def build_gmlp(spec: ImageModelSpec, options: GMLPOptions) -> keras.Model:
    """Patches, gated blocks, a normalised mean, and a head whose kernel is zero.

    Kernels start as in timm: Glorot-uniform in the blocks, LeCun-normal in the stem.

    Raises:
      InputError: the patch does not divide the image.
    """
    inputs, x = patch_stem(
        spec,
        patch_size=options.patch_size,
        width=options.width,
        kernel_initializer="lecun_normal",
    )
    for i in range(options.depth):
        x = GMLPBlock(
            options.channel_mlp_dim or 6 * options.width,
            gelu=options.gelu,
            layer_norm_epsilon=options.layer_norm_epsilon,
            stochastic_depth=options.stochastic_depth * i / max(options.depth - 1, 1),
            name=f"block_{i}",
        )(x)
    x = keras.layers.LayerNormalization(epsilon=options.layer_norm_epsilon, name="final_norm")(x)
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    logits = class_head(spec.num_classes, "zeros")(x)
    return keras.Model(inputs, logits, name=spec.name)


# Table 1 of the paper.
for _size, _width in (("ti", 128), ("s", 256), ("b", 512)):
    register(f"gmlp_{_size}16", GMLPOptions(width=_width), build_gmlp)
