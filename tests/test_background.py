"""Work done in another thread before it is asked for: it is done once, and changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from std_keras import background, xla_cache
from tests.forking import in_fork


def optimized(call: Callable[[], Any]) -> list[set[str]]:
    """The names of the nodes of every graph that TensorFlow optimised during a call."""
    eager = context.context()
    eager.enable_graph_collection()
    try:
        call()
        tf.zeros(()) + 1.0  # Graphs are collected after the next operation that succeeds.
        graphs = eager.export_run_metadata().function_graphs
    finally:
        eager.disable_graph_collection()
    return [{node.name for node in graph.pre_optimization_graph.node} for graph in graphs]


@pytest.fixture
def counted():
    """A function that counts its calls in a variable, and the variable."""
    calls = tf.Variable(0)

    @tf.function(autograph=False)
    def count(numbers, more):
        calls.assign_add(1)
        return tf.reduce_sum(numbers["mine"]) + tf.cast(more, tf.float32)

    return count, calls


SPECS = ({"mine": tf.TensorSpec((3, 4))}, tf.TensorSpec((), tf.int64))


def test_a_graph_is_optimized_before_its_first_call_and_not_run(counted):
    count, calls = counted
    function = count.get_concrete_function(*SPECS)
    before = optimized(lambda: background.optimize_graph(function).result())
    assert any("numbers" in names for names in before)
    assert int(calls) == 0
    answers = []
    first = optimized(
        lambda: answers.append(count({"mine": tf.ones((3, 4))}, tf.constant(5, tf.int64)))
    )
    assert not any("numbers" in names for names in first)
    assert (float(answers[0]), int(calls)) == (17.0, 1)
    assert count.experimental_get_tracing_count() == 1


def test_without_it_the_first_call_does_that(counted):
    """So the test above would notice."""
    count, calls = counted
    first = optimized(lambda: count({"mine": tf.ones((3, 4))}, tf.constant(5, tf.int64)))
    assert any("numbers" in names for names in first)
    assert int(calls) == 1


def test_a_graph_that_cannot_be_optimized_is_left_to_its_first_call():
    @tf.function(autograph=False)
    def impossible(x):
        with tf.device("/device:GPU:7"):
            return tf.raw_ops.ReadFile(filename=tf.strings.as_string(x))

    tf.config.set_soft_device_placement(False)
    try:
        function = impossible.get_concrete_function(tf.TensorSpec(()))
        background.optimize_graph(function).result()
        with pytest.raises(tf.errors.InvalidArgumentError):
            impossible(tf.constant(1.0))
    finally:
        tf.config.set_soft_device_placement(True)


def test_a_forked_process_has_a_thread_of_its_own():
    background._worker().submit(int).result()
    assert in_fork(lambda: background._worker().submit(int).result(timeout=60) == 0)


COMPILED = """
import sys
import tensorflow as tf
from std_keras import background
from std_keras.layers import compiled

sys.modules["std_keras.layers.compiled"].SMALLEST_COMPILED = 0

def wave(x, y):
    return tf.sin(x) * y

@tf.function(autograph=False)
def step(x):
    return compiled.compiled(wave, x, x) + compiled.compiled(wave, 2.0 * x, x)

traced = step.get_concrete_function(tf.TensorSpec((16, 8)))
background._worker().submit(lambda: None).result()  # All before it is done.
print("traced")
print(float(tf.reduce_sum(step(tf.ones((16, 8))))))
"""


def test_xla_compiles_a_function_once_while_its_caller_is_traced(tmp_path):
    """By the programs that XLA writes down, one for each that it compiles."""
    script = COMPILED.replace(
        'print("traced")', f"import os; print(len(os.listdir({str(tmp_path)!r})))"
    )
    flags = f"--xla_dump_to={tmp_path} --xla_dump_hlo_module_re=.*wave.*"
    # A test before this one may have chosen a cache, from which nothing is compiled.
    without_cache = {n: value for n, value in os.environ.items() if n != xla_cache.CHOICE}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**without_cache, "XLA_FLAGS": flags, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files_when_traced, answer = done.stdout.split()
    assert 0 < int(files_when_traced) == len(os.listdir(tmp_path))
    programs = [name for name in os.listdir(tmp_path) if "before_optimizations.txt" in name]
    assert len(programs) == 1
    assert float(answer) == pytest.approx(128 * (0.8414709848 + 0.9092974268), rel=1e-6)
