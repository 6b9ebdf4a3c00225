"""What blocks are given is checked when they are given it."""

from __future__ import annotations

import math

import pytest

from std_keras import layers
from std_keras.layers.residual_block import ResidualBlock

BLOCKS = {
    layers.CycleMLPBlock: (8,),
    layers.GMLPBlock: (8,),
    layers.MixerBlock: (5, 7),
    layers.ResMLPBlock: (7, 0.5),
    layers.TransformerBlock: (2, 8),
}


def test_every_family_is_tried():
    assert set(BLOCKS) == set(ResidualBlock.__subclasses__())


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, math.nan, math.inf])
@pytest.mark.parametrize("block", BLOCKS)
def test_a_rate_that_is_none_is_refused_where_it_is_given(block, rate):
    with pytest.raises(ValueError, match=f"^stochastic_depth={rate} must be at least 0 and below"):
        block(*BLOCKS[block], stochastic_depth=rate)


@pytest.mark.parametrize("rate", [0.0, 0.99])
@pytest.mark.parametrize("block", BLOCKS)
def test_a_rate_is_kept(block, rate):
    assert block(*BLOCKS[block], stochastic_depth=rate).get_config()["stochastic_depth"] == rate
