from __future__ import annotations

import keras
import pytest

from std_keras import models


def tower(*names: str) -> keras.Model:
    inputs = x = keras.Input((4, 3))
    for name in names:
        x = keras.layers.Activation("linear", name=name)(x)
    return keras.Model(inputs, x)


# floor(2 d / 3), but before the last block: worked out by hand.
@pytest.mark.parametrize(
    ("depth", "intermediate"), [(2, 0), (3, 1), (4, 2), (5, 3), (8, 5), (12, 8), (24, 16), (32, 21)]
)
def test_index_rule(depth, intermediate):
    backbone = tower(*(f"block_{i}" for i in range(depth)))
    assert models.sites(backbone) == {
        "last": f"block_{depth - 1}",
        "intermediate": f"block_{intermediate}",
    }


def test_pyramids_count_the_last_stage_alone():
    # CycleMLP-B2's depths, 2-3-10-3.
    names = [f"stage_{s}_block_{i}" for s, d in enumerate((2, 3, 10, 3)) for i in range(d)]
    assert models.sites(tower(*names)) == {
        "last": "stage_3_block_2",
        "intermediate": "stage_3_block_1",
    }


def test_a_single_block_has_no_intermediate_site():
    assert models.sites(tower("block_0", "block_0_extra")) == {"last": "block_0"}


def test_no_blocks():
    with pytest.raises(ValueError, match="site_layers"):
        models.sites(tower("conv"))
