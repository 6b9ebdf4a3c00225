"""TensorFlow's own log says which of its passes over a graph ran."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_PROGRAM = """
import tensorflow as tf
from std_keras import graph_optimizer

def before(x):
    for _ in range(8):
        x = tf.linalg.matmul(x, x) + 1.0
    return x

def after(x):
    return before(x)

tf.function(before)(tf.ones((4, 4)))
graph_optimizer.choose()
tf.function(after)(tf.ones((4, 4)))
"""


@pytest.fixture(scope="module")
def log(root):
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=root,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_VMODULE": "meta_optimizer=1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    ).stderr


@pytest.mark.parametrize("chosen", [True, False])
def test_a_graph_is_gone_over_once_and_not_searched_for_memory(chosen, log):
    name = "after" if chosen else "before"
    main = log[log.index(f"Starting optimization for grappler item: __inference_{name}_") :]
    main = main[: main.index("Optimized main graph")]
    assert main.count("remapper: Graph size after") == (1 if chosen else 2)
    assert ("memory_optimizer: Graph size after" in main) != chosen
