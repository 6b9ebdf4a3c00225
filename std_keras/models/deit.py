"""Vision transformers in DeiT's form (Touvron et al. 2021, arXiv 2012.12877)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from std_keras.layers import CombineHeads, PositionEmbedding, PrependToken, TransformerBlock
from std_keras.layers.fan_in_uniform import fan_in_uniform
from std_keras.models import option_checks
from std_keras.models.class_head import class_head
from std_keras.models.image_model import ImageModelSpec
from std_keras.models.patch_stem import patch_stem
from std_keras.models.registry import register


@dataclass(frozen=True)
class DeiTOptions:
    """Options of the family.

    Attributes:
      patch_size: side of a square patch, in pixels.
      width: channels N of a row.
      depth: number of blocks.
      head_dim: channels of an attention head; divides the width.
      stochastic_depth: drop probability of the last block; block i has i / (depth - 1) of it.
      gelu: "exact" or "tanh".
      layer_norm_epsilon: of all LayerNorms.
      distillation_token: one more learned row beside the class token, which a student's
        distillation heads read.
      distillation_head: the distilled model itself: a distillation token with one head, and the
        average of both heads as the output. With `distillation_token` the heads are the student's.
    """

    patch_size: int = 16
    width: int = 384
    depth: int = 12
    head_dim: int = 64
    stochastic_depth: float = 0.0
    gelu: str = "exact"
    layer_norm_epsilon: float = 1e-6
    distillation_token: bool = False
    distillation_head: bool = False

    def __post_init__(self) -> None:
        for name in ("patch_size", "width", "depth", "head_dim"):
            option_checks.check_at_least(name, getattr(self, name), 1)
        option_checks.check_attention_heads(self.width, self.head_dim)
        option_checks.check_rate("stochastic_depth", self.stochastic_depth)
        option_checks.check_gelu(self.gelu)
        option_checks.check_layer_norm_epsilon(self.layer_norm_epsilon)


def build_deit(spec: ImageModelSpec, options: DeiTOptions) -> keras.Model:
    """A vision transformer whose head reads the class token.

    Rows are [class, distillation if there is one, patches], in all layers "block_{i}". The final
    norm normalises the tokens alone, since no head reads the patches after it.

    Raises:
      InputError: the patch does not divide the image.
    """
    has_distillation_token = options.distillation_token or options.distillation_head

    inputs, x = patch_stem(
        spec,
        patch_size=options.patch_size,
        width=options.width,
        kernel_initializer=fan_in_uniform(),
    )
    patches = x.shape[1]
    if has_distillation_token:
        x = PrependToken(name="distillation_token")(x)
    x = PrependToken(name="class_token")(x)
    x = PositionEmbedding(name="position_embedding")(x)
    for i in range(options.depth):
        x = TransformerBlock(
            options.width // options.head_dim,
            4 * options.width,
            gelu=options.gelu,
            layer_norm_epsilon=options.layer_norm_epsilon,
            stochastic_depth=options.stochastic_depth * i / max(options.depth - 1, 1),
            name=f"block_{i}",
        )(x)
    x = keras.layers.Cropping1D((0, patches), name="tokens")(x)
    x = keras.layers.LayerNormalization(epsilon=options.layer_norm_epsilon, name="final_norm")(x)
    class_row = x
    if has_distillation_token:
        class_row = keras.layers.Cropping1D((0, 1), name="class_token_row")(x)
    features = keras.layers.Flatten(name="pool")(class_row)
    logits = class_head(spec.num_classes)(features)
    if options.distillation_head and not options.distillation_token:
        logits = _averaged(spec.num_classes, x, logits)
    return keras.Model(inputs, logits, name=spec.name)


def _averaged(num_classes: int, tokens: Any, class_logits: Any) -> Any:
    """The average with a distillation head; layers are named as in a student of one teacher."""
    row = keras.layers.Cropping1D((1, 0), name="distillation_token_row")(tokens)
    features = keras.layers.Flatten(name="distillation_token_features")(row)
    logits = class_head(num_classes, name="distillation_0_last")(features)
    return CombineHeads("average", name="average")([class_logits, logits])


# Table 1 of the paper.
for _size, _width in (("ti", 192), ("s", 384), ("b", 768)):
    register(f"deit_{_size}16", DeiTOptions(width=_width), build_deit)
    register(
        f"deit_{_size}16_distilled", DeiTOptions(width=_width, distillation_head=True), build_deit
    )
