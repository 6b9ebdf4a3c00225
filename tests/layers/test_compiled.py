"""Which graphs have the functions that XLA compiles."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tensorflow as tf

from std_keras.layers import MixerBlock
from std_keras.layers.compiled import fast_inference, is_fast

SHAPE = (2, 4, 6)


@pytest.fixture(autouse=True)
def _compile_small_ones_too(monkeypatch):
    monkeypatch.setattr(sys.modules["std_keras.layers.compiled"], "SMALLEST_COMPILED", 0)


@pytest.fixture
def block():
    made = MixerBlock(5, 7)
    made.build((None, *SHAPE[1:]))
    return made


def called(block, *, fast: bool, training: bool = False, jit_compile: bool = False):
    """A function of a block, and how many functions it calls."""

    @tf.function(jit_compile=jit_compile)
    def call(x):
        if not fast:
            return block(x, training=training)
        with fast_inference():
            return block(x, training=training)

    graph = call.get_concrete_function(tf.TensorSpec(SHAPE)).graph
    kinds = [operation.type for operation in graph.get_operations()]
    return call, kinds.count("PartitionedCall")


def test_inference_is_fast_where_it_is_asked_for(block, rng):
    x = tf.constant(rng.standard_normal(SHAPE), tf.float32)
    plain, none = called(block, fast=False)
    fast, functions = called(block, fast=True)
    assert (none, functions) == (0, 4)  # Two norms, two GELUs.
    assert called(block, fast=False, training=True)[1] == 4
    assert called(block, fast=True, jit_compile=True)[1] == 0
    np.testing.assert_allclose(fast(x), plain(x), rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(fast(x), block(x), rtol=2e-5, atol=2e-5)  # Eager.


def test_it_ends_with_the_block():
    assert not is_fast(False) and not is_fast(None) and is_fast(True)
    with pytest.raises(KeyError), fast_inference():
        assert is_fast(False)
        raise KeyError
    assert not is_fast(False)
