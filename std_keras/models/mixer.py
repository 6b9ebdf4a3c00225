"""MLP-Mixer (Tolstikhin et al. 2021, arXiv 2105.01601)."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from std_keras.layers import AppendToken, MixerBlock
from std_keras.models import option_checks
from std_keras.models.class_head import class_head
from std_keras.models.image_model import ImageModelSpec
from std_keras.models.patch_stem import patch_stem
from std_keras.models.registry import register


@dataclass(frozen=True)
class MixerOptions:
    """Options of the family.

    Attributes:
      patch_size: side of a square patch, in pixels.
      width: channels N of a patch's features.
      depth: number of blocks.
      token_mlp_dim: hidden width of token mixing; None is half the width.
      channel_mlp_dim: hidden width of channel mixing; None is four times the width.
      stochastic_depth: drop probability of the last block; block i has i / (depth - 1) of it.
      gelu: "exact", or "tanh" for weights released by the authors.
      layer_norm_epsilon: of all LayerNorms.
      distillation_token: one learned row beside the patches, through all blocks (DeiT's way).
    """

    patch_size: int = 16
    width: int = 512
    depth: int = 8
    token_mlp_dim: int | None = None
    channel_mlp_dim: int | None = None
    stochastic_depth: float = 0.0
    gelu: str = "exact"
    layer_norm_epsilon: float = 1e-6
    distillation_token: bool = False

    def __post_init__(self) -> None:
        for name in ("patch_size", "width", "depth", "token_mlp_dim", "channel_mlp_dim"):
            value = getattr(self, name)
            if value is not None:
                option_checks.check_at_least(name, value, 1)
        option_checks.check_rate("stochastic_depth", self.stochastic_depth)
        option_checks.check_gelu(self.gelu)
        option_checks.check_layer_norm_epsilon(self.layer_norm_epsilon)


def build_mixer(spec: ImageModelSpec, options: MixerOptions) -> keras.Model:
    """A Mixer with LeCun-normal kernels, zero biases and a head whose kernel is zero.

    Raises:
      InputError: the patch does not divide the image.
    """
    inputs, x = patch_stem(
        spec,
        patch_size=options.patch_size,
        width=options.width,
        kernel_initializer="lecun_normal",
    )
    if options.distillation_token:
        x = AppendToken(name="distillation_token")(x)
    for i in range(options.depth):
        x = MixerBlock(
            options.token_mlp_dim or max(1, options.width // 2),
            options.channel_mlp_dim or 4 * options.width,
            gelu=options.gelu,
            layer_norm_epsilon=options.layer_norm_epsilon,
            stochastic_depth=options.stochastic_depth * i / max(options.depth - 1, 1),
            name=f"block_{i}",
        )(x)
    x = keras.layers.LayerNormalization(epsilon=options.layer_norm_epsilon, name="final_norm")(x)
    if options.distillation_token:
        x = keras.layers.Cropping1D((0, 1), name="without_distillation_token")(x)
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    logits = class_head(spec.num_classes, "zeros")(x)
    return keras.Model(inputs, logits, name=spec.name)


# Table 1 of the paper: width and depth of S, B, L, H, and the patch sizes that it trains.
for _size, _width, _depth, _patch_sizes in (
    ("s", 512, 8, (32, 16)),
    ("b", 768, 12, (32, 16)),
    ("l", 1024, 24, (32, 16)),
    ("h", 1280, 32, (14,)),
):
    for _patch_size in _patch_sizes:
        register(
            f"mixer_{_size}{_patch_size}",
            MixerOptions(patch_size=_patch_size, width=_width, depth=_depth),
            build_mixer,
        )
