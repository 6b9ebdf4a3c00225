"""Keras layers of mixing MLPs and of Spatial-channel Token Distillation; each is usable alone."""

from __future__ import annotations

from std_keras.layers.append_token import AppendToken
from std_keras.layers.combine_heads import CombineHeads
from std_keras.layers.mixer_block import MixerBlock
from std_keras.layers.mlp import MLP
from std_keras.layers.stochastic_depth import StochasticDepth
from std_keras.layers.token_set import TokenSet
from std_keras.layers.zero_padded_shortcut import ZeroPaddedShortcut

__all__ = [
    "MLP",
    "AppendToken",
    "CombineHeads",
    "MixerBlock",
    "StochasticDepth",
    "TokenSet",
    "ZeroPaddedShortcut",
]
