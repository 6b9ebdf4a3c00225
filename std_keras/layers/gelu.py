"""GELU for training: one pass over memory for the value, and one for the gradient.

Without it a step of Mixer-S/4 takes a quarter longer on a CPU: 8.5 s instead of 6.8 s for 128
images on 2 cores of an Intel Xeon at 2.5 GHz (docs/speed.md).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.ops import control_flow_util

# Elements. To compile for a smaller array, about half a second, takes longer than it saves.
SMALLEST_COMPILED = 2**18


def gelu(x: Any, *, kind: str, training: bool) -> Any:
    """Gaussian error linear unit (Hendrycks and Gimpel 2016, arXiv 1606.08415), element by element.

    In inference it is Keras' own, so that an exported graph has the operators that converters
    know; and where XLA compiles the whole step, which fuses GELU with what stands around it (6.7 s
    instead of 7.5 s for a step of Mixer-S/4). Elsewhere in training value and gradient are two
    functions of `x` that XLA compiles. TensorFlow alone makes 5 arrays of the size of `x` for the
    value and 12 for the gradient, and keeps some of them in between; here each makes one.

    Args:
      x: a float tensor of any shape.
      kind: "exact" (with the error function) or "tanh" (its approximation).
      training: whether a gradient will be asked for.
    """
    if not training or _inside_xla():
        return keras.activations.gelu(x, approximate=kind == "tanh")
    value, gradient = _FUNCTIONS[kind]

    @tf.custom_gradient
    def with_gradient(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return _compiled(value, x), lambda upstream: _compiled(gradient, x, upstream)

    return with_gradient(x)


def _inside_xla() -> bool:
    """Whether the graph that is being made belongs to a function with `jit_compile=True`."""
    # There is no public way to ask.
    return bool(control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def _compiled(function: Callable[..., tf.Tensor], *inputs: tf.Tensor) -> tf.Tensor:
    """Calls a function of elements as XLA compiles it, where that is known to pay."""
    elements = inputs[0].shape.num_elements()
    small = elements is None or elements < SMALLEST_COMPILED
    if small or tf.executing_eagerly() or tf.config.list_physical_devices("GPU"):
        return function(*inputs)
    signature = tuple(tf.TensorSpec(value.shape, value.dtype) for value in inputs)
    return _traced(function, signature)(*inputs)


@functools.cache
def _traced(function: Callable[..., tf.Tensor], signature: tuple[tf.TensorSpec, ...]) -> Any:
    """One function for all layers of equal shape, so that XLA compiles it once."""
    return tf.function(function, input_signature=signature, jit_compile=True, autograph=False)


def _exact(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.gelu(x, approximate=False)


def _tanh(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.gelu(x, approximate=True)


def _exact_gradient(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """Phi(x) + x phi(x), of the normal distribution's cumulative and density, times `upstream`."""
    cumulative = 0.5 * tf.math.erfc(-x * math.sqrt(0.5))
    density = tf.exp(-0.5 * x * x) * (1.0 / math.sqrt(2.0 * math.pi))
    return upstream * (cumulative + x * density)


def _tanh_gradient(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """The derivative of x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2, times `upstream`."""
    scale = math.sqrt(2.0 / math.pi)
    tanh = tf.tanh(scale * (x + 0.044715 * x * x * x))
    inner = scale * (1.0 + 3.0 * 0.044715 * x * x)
    return upstream * (0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * inner)


_FUNCTIONS = {"exact": (_exact, _exact_gradient), "tanh": (_tanh, _tanh_gradient)}
