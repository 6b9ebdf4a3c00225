"""Keras layers of mixing MLPs and of Spatial-channel Token Distillation; each is usable alone."""

from __future__ import annotations

from std_keras.layers.affine import Affine
from std_keras.layers.append_token import AppendToken
from std_keras.layers.combine_heads import CombineHeads
from std_keras.layers.cycle_fc import CycleFC
from std_keras.layers.cycle_mixing import CycleMixing
from std_keras.layers.cyclemlp_block import CycleMLPBlock
from std_keras.layers.dirac import PartialDirac
from std_keras.layers.fused_batch_norm import FusedBatchNorm
from std_keras.layers.gelu_activation import GELU
from std_keras.layers.gmlp_block import GMLPBlock
from std_keras.layers.grouped_conv import GroupedConv2D
from std_keras.layers.layer_norm import LayerNorm
from std_keras.layers.layer_scale import LayerScale
from std_keras.layers.mixer_block import MixerBlock
from std_keras.layers.mlp import MLP
from std_keras.layers.patch_merging import PatchMerging
from std_keras.layers.position_embedding import PositionEmbedding
from std_keras.layers.prepend_token import PrependToken
from std_keras.layers.resmlp_block import ResMLPBlock
from std_keras.layers.self_attention import SelfAttention
from std_keras.layers.spatial_gating_unit import SpatialGatingUnit
from std_keras.layers.squeeze_excite import SqueezeExcite
from std_keras.layers.stochastic_depth import StochasticDepth
from std_keras.layers.swin_block import SwinBlock
from std_keras.layers.token_set import TokenSet
from std_keras.layers.train_along import TrainAlong
from std_keras.layers.transformer_block import TransformerBlock
from std_keras.layers.whitened_conv import WhitenedConv2D
from std_keras.layers.window_attention import WindowAttention
from std_keras.layers.zero_padded_shortcut import ZeroPaddedShortcut

__all__ = [
    "GELU",
    "MLP",
    "Affine",
    "AppendToken",
    "CombineHeads",
    "CycleFC",
    "CycleMLPBlock",
    "CycleMixing",
    "FusedBatchNorm",
    "GMLPBlock",
    "GroupedConv2D",
    "LayerNorm",
    "LayerScale",
    "MixerBlock",
    "PartialDirac",
    "PatchMerging",
    "PositionEmbedding",
    "PrependToken",
    "ResMLPBlock",
    "SelfAttention",
    "SpatialGatingUnit",
    "SqueezeExcite",
    "StochasticDepth",
    "SwinBlock",
    "TokenSet",
    "TrainAlong",
    "TransformerBlock",
    "WhitenedConv2D",
    "WindowAttention",
    "ZeroPaddedShortcut",
]
