"""Batch normalisation that is part of the product before it, in networks that only predict.

In inference batch normalisation is y = s · x + t for each channel, with s = γ / √(σ² + ε) and
t = β - s · μ (Ioffe and Szegedy 2015, arXiv 1502.03167, Algorithm 2). After a product without an
activation, s belongs into its kernel, and only t is left to be added. So it is behind max-pooling
too, if s is positive, as it is without γ: the largest of s · x is s times the largest x.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras.layers import GroupedConv2D

# Exactly these; a class that is made from one of them may do more than its product.
_PRODUCTS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Dense,
    GroupedConv2D,
)


class Shift(keras.layers.Layer):
    """What is left of a batch normalisation: (B, ..., C) + t."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.shift = self.add_weight(name="shift", shape=(input_shape[-1],))

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        # One addition that TensorFlow fuses with a convolution before and a ReLU after it.
        return tf.nn.bias_add(inputs, tf.cast(self.shift.value, inputs.dtype))

    def compute_output_spec(self, inputs: Any, **_: Any) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)


def foldable(model: keras.Model) -> dict[str, str]:
    """Products of a functional or sequential model, and the norm of each, by name."""
    links = list(links_of(model))
    read_by = Counter(source for source, _ in links)
    reads = Counter(reader for _, reader in links)
    outputs = () if isinstance(model, keras.Sequential) else model.output_names
    named = {layer.name: layer for layer in model.layers}  # Bare operations are not among them.
    only_reader = {
        source: reader
        for source, reader in links
        if read_by[source] == reads[reader] == 1 and source not in outputs
    }
    found = {}
    for source, reader in only_reader.items():
        pooled = type(named.get(reader)) is keras.layers.MaxPooling2D
        norm = named.get(only_reader.get(reader, "") if pooled else reader)
        if norm is None or not _fits(named.get(source), norm) or (pooled and norm.scale):
            continue
        found[source] = norm.name
    return found


def links_of(model: keras.Model) -> Iterable[tuple[str, str]]:
    """Which layer is read by which, by name, once for every time that it is."""
    if isinstance(model, keras.Sequential):
        for layer, reader in pairwise(model.layers):
            yield layer.name, reader.name
        return
    for entry in model.get_config()["layers"]:
        for source in _read(entry["inbound_nodes"]):
            yield source, entry["name"]


def _read(node: Any) -> Iterable[str]:
    """Names of the layers whose outputs calls of a layer take, as a configuration has them."""
    if isinstance(node, dict):
        if node.get("class_name") == "__keras_tensor__":
            yield node["config"]["keras_history"][0]
        else:
            for value in node.values():
                yield from _read(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _read(value)


def _fits(layer: keras.layers.Layer | None, norm: keras.layers.Layer | None) -> bool:
    """Whether the one is a product and the other scales its channels."""
    if type(layer) not in _PRODUCTS or not isinstance(norm, keras.layers.BatchNormalization):
        return False
    assert layer is not None
    # Of a dense layer's outputs -1 alone is sure to be the last axis.
    last = (-1,) if isinstance(layer, keras.layers.Dense) else (-1, 3)
    return (
        norm.axis in last
        and getattr(layer, "activation", None) in (None, keras.activations.linear)
        and getattr(layer, "data_format", "channels_last") == "channels_last"
        and getattr(layer, "quantization_mode", None) is None
        and layer.kernel.dtype == norm.moving_variance.dtype == "float32"
    )


def folded_weights(
    layer: keras.layers.Layer, norm: keras.layers.BatchNormalization
) -> tuple[np.ndarray, np.ndarray]:
    """The kernel of a product with the scale of the norm in it, and the shift that is left.

    Computed in float64; a bias of the product is in the shift.
    """

    def value(variable: keras.Variable | None, default: float) -> np.ndarray:
        return np.asarray(default if variable is None else variable, np.float64)

    scale = value(norm.gamma if norm.scale else None, 1.0) / np.sqrt(
        value(norm.moving_variance, 1.0) + norm.epsilon
    )
    bias = value(getattr(layer, "bias", None), 0.0)
    shift = (bias - value(norm.moving_mean, 0.0)) * scale
    shift = shift + value(norm.beta if norm.center else None, 0.0)
    kernel = value(layer.kernel, 0.0)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        scale = scale.reshape(kernel.shape[-2:])  # (channels, multiplier)
    return (kernel * scale).astype(np.float32), shift.astype(np.float32)
