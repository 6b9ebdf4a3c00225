"""Tensors of the inference graph with the linear maps that were not computed yet.

A scale per channel, a shift, a concatenation, a dense layer: computed one after the other, each is
an operator of its own. Here they wait as constants, until something that is not linear reads the
tensor. What came together by then is one matmul.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf


@dataclass(frozen=True, eq=False)
class Affine:
    """tensor * scale + shift per channel, (..., N); None stands for 1 and 0."""

    tensor: tf.Tensor
    scale: np.ndarray | None = None
    shift: np.ndarray | None = None

    @property
    def channels(self) -> int:
        return int(self.tensor.shape[-1])


@dataclass(frozen=True, eq=False)
class Concatenated:
    """Several of them side by side on the last axis."""

    parts: tuple[Affine, ...]


@dataclass(frozen=True, eq=False)
class Linear:
    """The sum of tensors (..., n_i) times kernels (n_i, units), and a bias (units,).

    Attributes:
        terms: tensors and kernels.
        bias: zeros if there is none.
        scope: under which its operators are named, so that a finding about one leads to a layer.
    """

    terms: tuple[tuple[tf.Tensor, np.ndarray], ...]
    bias: np.ndarray
    scope: str


Deferred = Affine | Concatenated | Linear


@dataclass(frozen=True)
class Graph:
    """Computes what was deferred, and nothing twice.

    Attributes:
        done: results by what they are results of, whose `id` is a key as long as it lives.
    """

    done: dict[tuple[Any, ...], tuple[Any, tf.Tensor]] = field(default_factory=dict)

    def compute(self, value: Any) -> tf.Tensor:
        """The tensor of a value; one that is no deferred one is returned as it is."""
        if isinstance(value, (Affine, Concatenated, Linear)):
            return self._once(("compute", id(value)), value, lambda: self._compute(value))
        return value

    def standardize(self, x: tf.Tensor, *, epsilon: float) -> tf.Tensor:
        """(x - mean) / sqrt(variance + epsilon) over the last axis: a LayerNorm without weights."""

        def compute() -> tf.Tensor:
            centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
            variance = tf.reduce_mean(centred * centred, axis=-1, keepdims=True)
            return centred * tf.math.rsqrt(variance + epsilon)

        return self._once(("standardize", id(x), epsilon), x, compute)

    def _once(self, key: tuple[Any, ...], alive: Any, compute: Any) -> tf.Tensor:
        if key not in self.done:
            self.done[key] = (alive, compute())
        return self.done[key][1]

    def _compute(self, value: Deferred) -> tf.Tensor:
        if isinstance(value, Affine):
            result = value.tensor
            if value.scale is not None:
                result = result * constant(value.scale)
            return result if value.shift is None else result + constant(value.shift)
        if isinstance(value, Concatenated):
            return tf.concat([self.compute(part) for part in value.parts], axis=-1)
        kernel = np.concatenate([kernel for _, kernel in value.terms])
        tensors = [tensor for tensor, _ in value.terms]
        with tf.name_scope(f"{value.scope}/"):  # The slash makes it an absolute one.
            joined = tensors[0] if len(tensors) == 1 else tf.concat(tensors, axis=-1)
            result = tf.matmul(joined, constant(kernel))
            return result + constant(value.bias) if value.bias.any() else result


def constant(array: np.ndarray) -> tf.Tensor:
    """float32; sums and products of constants are float64 until here."""
    return tf.constant(array.astype(np.float32))


def array(weight: Any) -> np.ndarray:
    """A weight, or any array, in float64; also while a graph is being traced."""
    with tf.init_scope():
        return np.asarray(weight, np.float64)


def affine(value: Any, *, scale: Any = None, shift: Any = None) -> Affine | Linear:
    """value * scale + shift per channel, added to what is deferred already.

    Args:
        value: a tensor, `Affine` or `Linear`.
        scale: a number, (N,), or None for 1.
        shift: likewise, or None for 0.
    """
    if isinstance(value, Linear):
        units = len(value.bias)
        factor = np.ones(units) if scale is None else _full(scale, units)
        offset = np.zeros(units) if shift is None else _full(shift, units)
        terms = tuple((tensor, kernel * factor) for tensor, kernel in value.terms)
        return Linear(terms, value.bias * factor + offset, value.scope)
    if not isinstance(value, Affine):
        value = Affine(value)
    old_scale, old_shift = value.scale, value.shift
    if scale is not None:
        factor = _full(scale, value.channels)
        old_scale = factor if old_scale is None else old_scale * factor
        old_shift = None if old_shift is None else old_shift * factor
    if shift is not None:
        offset = _full(shift, value.channels)
        old_shift = offset if old_shift is None else old_shift + offset
    return Affine(value.tensor, old_scale, old_shift)


def concatenated(values: Sequence[Any], graph: Graph) -> Concatenated:
    """Side by side on the last axis."""
    parts: list[Affine] = []
    for value in values:
        if isinstance(value, Concatenated):
            parts.extend(value.parts)
        else:
            parts.append(value if isinstance(value, Affine) else Affine(graph.compute(value)))
    return Concatenated(tuple(parts))


def linear(value: Any, kernel: Any, bias: Any, graph: Graph, *, name: str) -> Linear:
    """value @ kernel + bias, with the scales and shifts of `value` put into the constants.

    Args:
        value: (..., N).
        kernel: (N, units).
        bias: (units,), or None.
        graph: computes what cannot wait.
        name: of the layer, within the scope of this call.
    """
    kernel = array(kernel)
    offset = np.zeros(kernel.shape[1]) if bias is None else array(bias)
    if isinstance(value, Concatenated):
        parts: tuple[Affine, ...] = value.parts
    else:
        parts = (value if isinstance(value, Affine) else Affine(graph.compute(value)),)
    terms, start = [], 0
    for part in parts:
        rows = kernel[start : start + part.channels]
        start += part.channels
        if part.shift is not None:
            offset = offset + part.shift @ rows
        terms.append((part.tensor, rows if part.scale is None else part.scale[:, None] * rows))
    return Linear(tuple(terms), offset, "/".join(filter(None, (tf.get_current_name_scope(), name))))


def weighted_sum(values: Sequence[Linear], weights: Sequence[float], *, name: str) -> Linear:
    """The sum of matmuls as one, called `name`; those of the same tensor share its rows."""
    kernels: dict[int, tuple[tf.Tensor, np.ndarray]] = {}
    bias = np.zeros(len(values[0].bias))
    for value, weight in zip(values, weights, strict=True):
        bias = bias + weight * value.bias
        for tensor, kernel in value.terms:
            known = kernels.get(id(tensor))
            total = weight * kernel if known is None else known[1] + weight * kernel
            kernels[id(tensor)] = (tensor, total)
    return Linear(tuple(kernels.values()), bias, name)


def _full(value: Any, size: int) -> np.ndarray:
    return np.broadcast_to(array(value), (size,))
