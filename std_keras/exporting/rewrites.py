"""How each kind of layer enters the inference graph.

A rule takes what is deferred and gives what is deferred; it must equal the layer's own call at
inference. Layers without a rule are called as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras import layers
from std_keras.exporting.deferred import (
    Affine,
    Concatenated,
    Graph,
    Linear,
    affine,
    array,
    concatenated,
    constant,
    linear,
    weighted_sum,
)
from std_keras.layers import (
    MLP,
    CombineHeads,
    CycleMLPBlock,
    GMLPBlock,
    LayerScale,
    MixerBlock,
    ResMLPBlock,
    StochasticDepth,
    TokenSet,
)

Rule = Callable[..., Any]


def rule_of(layer: Any) -> Rule | None:
    """The rule for a layer: `rule(layer, graph, *inputs)`; None if it is to be called as it is.

    By the very class: one that derives from it may compute something else.
    """
    rule = _RULES.get(type(layer))
    applies = _APPLIES.get(type(layer))
    return rule if applies is None or applies(layer) else None


def dense(layer: Any, graph: Graph, x: Any) -> Any:
    """`keras.layers.Dense`."""
    result = linear(x, *_weights(layer), graph, name="")
    if layer.activation is keras.activations.linear:
        return result
    return layer.activation(graph.compute(result))


def layer_norm(layer: Any, graph: Graph, x: Any) -> Affine:
    """LayerNorm over the last axis: scale and shift are left to what reads the result."""
    return _layer_norm_of(layer, graph.standardize(graph.compute(x), epsilon=layer.epsilon))


def mlp(layer: Any, graph: Graph, x: Any) -> Linear:
    """`std_keras.layers.MLP`."""
    with tf.name_scope(layer.name):
        hidden = _gelu(graph.compute(_dense(layer.hidden_dense, graph, x)), layer.gelu)
        return _dense(layer.output_dense, graph, hidden)


def mixer_block(layer: Any, graph: Graph, x: Any) -> tf.Tensor:
    """`std_keras.layers.MixerBlock`."""
    x = graph.compute(x)
    # Scale and shift go along the other axis than the matmul: they are computed here.
    rows = _transposed(graph.compute(layer_norm(layer.token_norm, graph, x)))
    mixed = x + _transposed(graph.compute(mlp(layer.token_mlp, graph, rows)))
    branch = mlp(layer.channel_mlp, graph, layer_norm(layer.channel_norm, graph, mixed))
    return mixed + graph.compute(branch)


def resmlp_block(layer: Any, graph: Graph, x: Any) -> tf.Tensor:
    """`std_keras.layers.ResMLPBlock`."""
    x = graph.compute(x)
    # The matmul could change places with the affine, whose shift and the bias were one constant:
    # one operator less, but P N numbers more in each block, which a file feels.
    rows = _transposed(graph.compute(_affine_layer(layer.token_affine, graph, x)))
    mixed = _transposed(graph.compute(_dense(layer.token_dense, graph, rows)))
    mixed = x + graph.compute(affine(mixed, scale=layer.token_scale.scale))
    branch = mlp(layer.channel_mlp, graph, _affine_layer(layer.channel_affine, graph, mixed))
    return mixed + graph.compute(affine(branch, scale=layer.channel_scale.scale))


def gmlp_block(layer: Any, graph: Graph, x: Any) -> tf.Tensor:
    """`std_keras.layers.GMLPBlock`."""
    x = graph.compute(x)
    hidden = _dense(layer.hidden_dense, graph, layer_norm(layer.norm, graph, x))
    values, gate = tf.split(_gelu(graph.compute(hidden), layer.gelu), 2, axis=-1)
    with tf.name_scope(layer.gate.name):
        rows = _transposed(graph.compute(layer_norm(layer.gate.norm, graph, gate)))
        gate = _transposed(graph.compute(_dense(layer.gate.token_dense, graph, rows)))
        gated = values * gate
    return x + graph.compute(_dense(layer.output_dense, graph, gated))


def cyclemlp_block(layer: Any, graph: Graph, x: Any) -> tf.Tensor:
    """`std_keras.layers.CycleMLPBlock`."""
    x = graph.compute(x)
    normed = layer_norm(layer.mixing_norm, graph, x)
    mixed = x + graph.compute(_cycle_mixing(layer.mixing, graph, normed))
    branch = mlp(layer.mlp, graph, layer_norm(layer.mlp_norm, graph, mixed))
    return mixed + graph.compute(branch)


def _cycle_mixing(layer: Any, graph: Graph, x: Any) -> Linear:
    channels = layer.projection.units
    with tf.name_scope(layer.name):
        # Beside the image are zeros, which a shift deferred would miss.
        x = graph.compute(x)
        branches = [
            graph.compute(_dense(layer.width_fc, graph, _moved(layer.width_fc, x))),
            graph.compute(_dense(layer.height_fc, graph, _moved(layer.height_fc, x))),
            graph.compute(_dense(layer.channel_fc, graph, x)),
        ]
        total = branches[0] + branches[1] + branches[2]
        pooled = tf.reduce_mean(total, axis=(1, 2))
        weights = graph.compute(mlp(layer.reweight, graph, pooled))
        weights = tf.nn.softmax(tf.reshape(weights, (channels, 3)))
        split = tf.split(tf.transpose(weights), 3)  # (1, N) each, which broadcasts.
        weighted = [branch * weight for branch, weight in zip(branches, split, strict=True)]
        return _dense(layer.projection, graph, weighted[0] + weighted[1] + weighted[2])


def _moved(layer: Any, x: tf.Tensor) -> tf.Tensor:
    kernel = tf.constant(layer.shift_kernel)
    return tf.nn.depthwise_conv2d(x, kernel, strides=[1, 1, 1, 1], padding="SAME")


def token_set(layer: Any, graph: Graph, x: Any, tokens: Any = None) -> dict[str, Any]:
    """`std_keras.layers.TokenSet`; a token that does not depend on the image waits as a shift."""
    x = graph.compute(x)
    patches, channels = int(x.shape[1]), int(x.shape[2])
    updated: dict[str, Any] = {}
    if "spatial" in layer.token_names:
        token = _start(layer, graph, tokens, "spatial", (1, channels))
        for norm, pair in zip(layer.spatial_norms, layer.spatial_mlps, strict=True):
            token = _whole(token)
            # Row by row, so that the patches' rows are those that the next block may need too.
            rows = [layer_norm(norm, graph, x), _token_norm(norm, graph, token)]
            joined = tf.concat([graph.compute(row) for row in rows], axis=1)
            update = graph.compute(mlp(pair, graph, _transposed(joined)))
            token = _added(token, _transposed(update))
        updated["spatial"] = _row(token, (-1, channels))
    if "channel" in layer.token_names:
        token = _start(layer, graph, tokens, "channel", (patches, 1))
        for norm, pair in zip(layer.channel_norms, layer.channel_mlps, strict=True):
            token = _whole(token)
            column = constant(token[None]) if isinstance(token, np.ndarray) else token
            joined = layer_norm(norm, graph, tf.concat([x, column], axis=2))
            token = _added(token, graph.compute(mlp(pair, graph, joined)))
        updated["channel"] = _row(token, (-1, patches))
    return updated


def _start(layer: Any, graph: Graph, tokens: Any, kind: str, shape: tuple[int, int]) -> Any:
    """The token that enters: the layer's own, a constant (rows, columns); or (1, rows, columns)."""
    if tokens is None:
        return array(getattr(layer, f"{kind}_token"))
    return tf.reshape(graph.compute(tokens[kind]), (-1, *shape))


def _token_norm(norm: Any, graph: Graph, token: Any) -> Any:
    if not isinstance(token, np.ndarray):
        return layer_norm(norm, graph, token)
    centred = token - token.mean(-1, keepdims=True)
    normed = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + norm.epsilon)
    if norm.scale:
        normed = normed * array(norm.gamma)
    if norm.center:
        normed = normed + array(norm.beta)
    return constant(normed[None])


def _added(token: Any, update: Any) -> Any:
    """Token plus update; a constant token stays beside it."""
    return (update, token) if isinstance(token, np.ndarray) else token + update


def _whole(token: Any) -> Any:
    """What stacked pairs read: the sum."""
    return token[0] + constant(token[1][None]) if isinstance(token, tuple) else token


def _row(token: Any, shape: tuple[int, int]) -> Any:
    if isinstance(token, tuple):
        return affine(tf.reshape(token[0], shape), shift=token[1].ravel())
    return tf.reshape(token, shape)


def _conv2d(layer: Any, graph: Graph, x: Any) -> tf.Tensor:
    """A convolution that pads nothing takes over the scale and shift of its input."""
    kernel = array(layer.kernel)
    bias = array(layer.bias) if layer.use_bias else np.zeros(kernel.shape[-1])
    if isinstance(x, Affine):
        if x.shift is not None:
            bias = bias + np.einsum("hwio,i->o", kernel, x.shift)
        if x.scale is not None:
            kernel = kernel * x.scale[:, None]
        x = x.tensor
    x = tf.nn.conv2d(graph.compute(x), constant(kernel), layer.strides, "VALID")
    return x + constant(bias)


def _is_plain_conv2d(layer: Any) -> bool:
    return (
        layer.padding == "valid"
        and layer.groups == 1
        and tuple(layer.dilation_rate) == (1, 1)
        and layer.data_format == "channels_last"
        and layer.activation is keras.activations.linear
    )


def _rescaling(layer: Any, graph: Graph, x: Any) -> Any:
    return affine(x, scale=layer.scale, shift=layer.offset)


def _affine_layer(layer: Any, graph: Graph, x: Any) -> Any:
    x = graph.compute(x) if isinstance(x, Concatenated) else x
    return affine(x, scale=layer.alpha, shift=layer.beta)


def _layer_scale(layer: Any, graph: Graph, x: Any) -> Any:
    x = graph.compute(x) if isinstance(x, Concatenated) else x
    return affine(x, scale=layer.scale)


def _mean(layer: Any, graph: Graph, x: Any) -> Affine:
    """Global average pooling; scale and shift per channel wait."""
    x = x if isinstance(x, Affine) else Affine(graph.compute(x))
    axes = tuple(range(1, len(x.tensor.shape) - 1))
    return Affine(tf.reduce_mean(x.tensor, axis=axes), x.scale, x.shift)


def _cropping(layer: Any, graph: Graph, x: Any) -> Affine:
    x = x if isinstance(x, Affine) else Affine(graph.compute(x))
    return Affine(layer(x.tensor), x.scale, x.shift)


def _is_plain_pooling(layer: Any) -> bool:
    return layer.data_format == "channels_last" and not layer.keepdims


def _is_last_axis_norm(layer: Any) -> bool:
    axis = layer.axis if isinstance(layer.axis, int) else tuple(layer.axis)
    last = -1 if layer._build_shapes_dict is None else len(_input_shape(layer)) - 1
    return axis in (-1, (-1,), last, (last,)) and not getattr(layer, "rms_scaling", False)


def _input_shape(layer: Any) -> Sequence[Any]:
    return tuple(layer._build_shapes_dict["input_shape"])


def _concatenate(layer: Any, graph: Graph, values: Sequence[Any]) -> Any:
    return concatenated(values, graph)


def _is_last_axis_concatenation(layer: Any) -> bool:
    return layer.axis == -1


def _combine_heads(layer: Any, graph: Graph, heads: Sequence[Any]) -> Any:
    """Heads that are averaged are one matmul."""
    count = len(heads)
    if layer.mode == "distillation":
        weights = [1.0 / count] * count
    elif layer.mode == "average" or count == 2:
        weights = [0.5] + [0.5 / (count - 1)] * (count - 1)
    else:
        return layer([graph.compute(head) for head in heads])
    if all(isinstance(head, Linear) for head in heads):
        return weighted_sum(heads, weights, name=layer.name)
    return layer([graph.compute(head) for head in heads])


def _same(layer: Any, graph: Graph, x: Any) -> Any:
    return x


def _layer_norm_of(layer: Any, x: tf.Tensor) -> Affine:
    result = affine(
        x,
        scale=layer.gamma if layer.scale else None,
        shift=layer.beta if layer.center else None,
    )
    assert isinstance(result, Affine)
    return result


def _weights(layer: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Kernel and bias of a dense layer in float64."""
    bias = array(layer.bias) if layer.use_bias else None
    return array(layer.kernel), bias


def _dense(layer: Any, graph: Graph, x: Any) -> Linear:
    return linear(x, *_weights(layer), graph, name=layer.name)


def _gelu(x: tf.Tensor, kind: str) -> tf.Tensor:
    return tf.nn.gelu(x, approximate=kind == "tanh")


def _transposed(x: tf.Tensor) -> tf.Tensor:
    return tf.transpose(x, (0, 2, 1))


_RULES: dict[type, Rule] = {
    keras.layers.Rescaling: _rescaling,
    keras.layers.Conv2D: _conv2d,
    keras.layers.Dense: dense,
    keras.layers.LayerNormalization: layer_norm,
    layers.LayerNorm: layer_norm,
    keras.layers.GlobalAveragePooling1D: _mean,
    keras.layers.GlobalAveragePooling2D: _mean,
    keras.layers.Cropping1D: _cropping,
    keras.layers.Concatenate: _concatenate,
    keras.layers.Dropout: _same,
    StochasticDepth: _same,
    layers.Affine: _affine_layer,
    LayerScale: _layer_scale,
    MLP: mlp,
    MixerBlock: mixer_block,
    ResMLPBlock: resmlp_block,
    GMLPBlock: gmlp_block,
    CycleMLPBlock: cyclemlp_block,
    TokenSet: token_set,
    CombineHeads: _combine_heads,
}
_APPLIES: dict[type, Callable[[Any], bool]] = {
    keras.layers.Conv2D: _is_plain_conv2d,
    keras.layers.GlobalAveragePooling1D: _is_plain_pooling,
    keras.layers.GlobalAveragePooling2D: _is_plain_pooling,
    keras.layers.LayerNormalization: _is_last_axis_norm,
    layers.LayerNorm: _is_last_axis_norm,
    keras.layers.Concatenate: _is_last_axis_concatenation,
}
