"""Functions of TensorFlow that XLA compiles inside of a graph that is not compiled itself."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import tensorflow as tf

from std_keras import background, xla_cache

# Elements. To compile for a smaller array, about half a second, takes longer than it saves.
SMALLEST_COMPILED = 2**18

_INFERENCE: ContextVar[bool] = ContextVar("fast_inference", default=False)


@contextlib.contextmanager
def fast_inference() -> Iterator[None]:
    """Graphs that are made inside have the fast functions in inference too.

    For graphs that are run here, such as an evaluation's. Those that leave the project are made
    without it, and have the operators that Keras gives them and converters know.
    """
    token = _INFERENCE.set(True)
    try:
        yield
    finally:
        _INFERENCE.reset(token)


def is_fast(training: bool | None) -> bool:
    """Whether a layer takes its fast functions: always in training, else in `fast_inference`."""
    return bool(training) or _INFERENCE.get()


def inside_xla() -> bool:
    """Whether the graph that is being made belongs to a function with `jit_compile=True`."""
    # There is no public way to ask. Here, so that a TensorFlow that moved it fails in this call.
    from tensorflow.python.ops import control_flow_util

    return bool(control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def on_cpu_operation_by_operation() -> bool:
    """Whether a graph for a CPU is being made, whose operations TensorFlow will run one by one."""
    return not (tf.executing_eagerly() or inside_xla() or tf.config.list_physical_devices("GPU"))


def compiled(function: Callable[..., Any], *inputs: tf.Tensor) -> Any:
    """Calls a function of tensors as XLA compiles it, where that is known to pay.

    The first input tells how large the arrays are.
    """
    elements = inputs[0].shape.num_elements()
    small = elements is None or elements < SMALLEST_COMPILED
    if small or not on_cpu_operation_by_operation():
        return function(*inputs)
    signature = tuple(tf.TensorSpec(value.shape, value.dtype) for value in inputs)
    return _traced(function, signature)(*inputs)


@functools.cache
def _traced(function: Callable[..., Any], signature: tuple[tf.TensorSpec, ...]) -> Any:
    """One function for all layers of equal shape, so that XLA compiles it once.

    It does so while Python goes on with the graph that calls it.
    """
    # There are many, and what was counted before them differs by little.
    made = xla_cache.compiled(function, input_signature=signature, multiple=1000)
    traced = made.get_concrete_function()
    with tf.init_scope():  # Out of the graph that is being made.
        # A graph round it: called alone, it would be compiled for itself.
        around = tf.function(traced, input_signature=signature, autograph=False)
        background.run_once(around.get_concrete_function())
    return traced
