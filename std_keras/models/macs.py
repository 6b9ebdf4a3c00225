"""How many multiplications an image costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Their number of steps, or the branch that is taken, is not in the graph.
_CONTROL_FLOW = {"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"}


def multiply_accumulates(model: keras.Model) -> int:
    """Multiply-accumulates of one image through a model in inference.

    Traces the model for a batch of one and adds up its products: matrix products, those of
    attention included, and convolutions, each with all taps of its kernel, those that read padding
    included. What costs additions or a few operations per element (biases, norms, activations,
    pooling, residuals, the input's normalisation) does not count, as in the numbers of the ResMLP,
    Swin and RegNet papers. Tools that count norms too, such as fvcore, with which timm's tables
    are made, give models with LayerNorm up to 1 % more.

    A depthwise convolution with a constant kernel that picks one position per channel does not
    count: that is how `CycleFC` moves its channels, and it multiplies by zero and one only. So a
    CycleFC costs what its dense layer costs.

    Args:
      model: any Keras model whose input shapes are fixed except the batch. Its weights are not
        read, so a model made in `keras.StatelessScope(initialize_variables=False)` can be counted
        in that scope.

    Raises:
      ValueError: a shape is not fixed, or products are in a loop, a branch or an operation that
        cannot be counted.
    """
    call = tf.function(lambda inputs: model(inputs, training=False), autograph=False)
    signature = keras.tree.map_structure(_one_example, model.input)
    return _count(call.get_concrete_function(signature).graph)


def _one_example(value: Any) -> tf.TensorSpec:
    shape = tuple(value.shape)
    if None in shape[1:]:
        raise ValueError(f"input {value.name} of shape {shape} must be fixed except the batch")
    return tf.TensorSpec((1, *shape[1:]), value.dtype)


def _count(graph: Any) -> int:
    total = 0
    for operation in graph.get_operations():
        count = _COUNTS.get(operation.type)
        if count is not None:
            total += count(operation)
        # What Keras compiles by itself, such as a grouped convolution, is a function in the graph.
        inner = sum(_count(function) for function in _functions(operation))
        if operation.type in _CONTROL_FLOW and inner:
            raise ValueError(f"{operation.name} multiplies inside a loop or a branch")
        total += inner
    return total


def _functions(operation: tf.Operation) -> Iterator[Any]:
    """Graphs of the functions that an operation calls."""
    for attribute in operation.node_def.attr.values():
        if attribute.HasField("func"):
            yield operation.graph._get_function(attribute.func.name).graph


def _product(operation: tf.Operation) -> int:
    adjoint = "transpose_a" if operation.type == "MatMul" else "adj_x"
    depth = -2 if operation.get_attr(adjoint) else -1
    return _size(operation.outputs[0]) * _shape(operation.inputs[0])[depth]


def _einsum(operation: tf.Operation) -> int:
    """Every element of the result is a sum over the labels that it lacks."""
    if len(operation.inputs) < 2:
        return 0
    inputs, result = operation.get_attr("equation").decode().split("->")
    sizes: dict[str, int] = {}
    for labels, tensor in zip(inputs.split(","), operation.inputs, strict=True):
        shape = _shape(tensor)
        before, _, after = labels.partition("...")
        sizes |= zip(before, shape, strict=False)
        sizes |= zip(reversed(after), reversed(shape), strict=False)
    summed = math.prod(size for label, size in sizes.items() if label not in result)
    return _size(operation.outputs[0]) * summed


def _convolution(operation: tf.Operation) -> int:
    # Of the kernel (height, width, channels of a group, channels of the result).
    return _size(operation.outputs[0]) * math.prod(_shape(operation.inputs[1])[:-1])


def _depthwise(operation: tf.Operation) -> int:
    kernel = tf.get_static_value(operation.inputs[1])
    if kernel is not None and _picks_one_position(np.asarray(kernel, "float32")):
        return 0
    return _size(operation.outputs[0]) * math.prod(_shape(operation.inputs[1])[:2])


def _picks_one_position(kernel: np.ndarray) -> bool:
    return bool(np.isin(kernel, (0, 1)).all() and (kernel.sum((0, 1)) <= 1).all())


def _unknown(operation: tf.Operation) -> int:
    raise ValueError(f"{operation.name} is a {operation.type}, whose products are not counted")


def _shape(tensor: tf.Tensor) -> tuple[int, ...]:
    if not tensor.shape.is_fully_defined():
        raise ValueError(f"{tensor.name} of shape {tensor.shape} must have a fixed shape")
    return tuple(tensor.shape)


def _size(tensor: tf.Tensor) -> int:
    return math.prod(_shape(tensor))


_COUNTS: dict[str, Callable[[tf.Operation], int]] = {
    "MatMul": _product,
    "BatchMatMul": _product,
    "BatchMatMulV2": _product,
    "BatchMatMulV3": _product,
    "Einsum": _einsum,
    "Conv2D": _convolution,
    "Conv3D": _convolution,
    "DepthwiseConv2dNative": _depthwise,
    "Conv2DBackpropInput": _unknown,
    "Conv3DBackpropInputV2": _unknown,
    "XlaConvV2": _unknown,
    "XlaDotV2": _unknown,
    "SparseTensorDenseMatMul": _unknown,
}
