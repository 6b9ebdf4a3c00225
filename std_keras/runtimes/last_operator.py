"""Whether a classifier's file ends in a softmax, and in which steps its outputs are rounded.

Rounded probabilities have another sum than 1, so that they could be taken for logits.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

# Operators that change the type or the shape of numbers.
_ONNX_PASSES = frozenset(
    ("Cast", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear", "Reshape", "Squeeze")
)
_TFLITE_PASSES = frozenset(
    getattr(schema.BuiltinOperator, name)
    for name in ("CAST", "DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE")
)
_MOST = 16  # Of them, one after the other.


@dataclass(frozen=True)
class Ending:
    """What the last operators say about the outputs.

    Attributes:
        softmax: whether they are probabilities.
        step: between two values that they can have; 0 if they are not rounded to integers.
    """

    softmax: bool = False
    step: float = 0.0


def of_onnx(model: Any, output: str) -> Ending:
    """The ending of a parsed ONNX file at one of its outputs."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    arrays = {array.name: array for array in model.graph.initializer}
    step = 0.0
    for _ in range(_MOST):
        node = made_by.get(output)
        if node is None:
            break
        if node.op_type == "DequantizeLinear" and len(node.input) > 1 and not step:
            step = _number(arrays.get(node.input[1]))
        if node.op_type in ("Softmax", "QLinearSoftmax"):
            return Ending(softmax=True, step=step)
        if node.op_type not in _ONNX_PASSES or not node.input:
            break
        output = node.input[0]
    return Ending(step=step)


def of_tflite(content: bytes) -> Ending:
    """The ending of a TFLite file of one output; says nothing of a damaged one."""
    try:
        return _of_tflite(schema.Model.GetRootAs(content, 0))
    except (struct.error, AttributeError, TypeError, ValueError, IndexError):
        return Ending()


def _of_tflite(model: Any) -> Ending:
    graph = model.Subgraphs(0)
    made_by: dict[int, Any] = {}
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        made_by |= {operator.Outputs(i): operator for i in range(operator.OutputsLength())}
    tensor = graph.Outputs(0)
    step = _scale(graph.Tensors(tensor))
    for _ in range(_MOST):
        operator = made_by.get(tensor)
        if operator is None:
            break
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if kind == schema.BuiltinOperator.SOFTMAX:
            return Ending(softmax=True, step=step)
        if kind not in _TFLITE_PASSES:
            break
        tensor = operator.Inputs(0)
        step = step or _scale(graph.Tensors(tensor))
    return Ending(step=step)


def _scale(tensor: Any) -> float:
    about = tensor.Quantization()
    integers = (schema.TensorType.INT8, schema.TensorType.UINT8, schema.TensorType.INT16)
    if about is None or tensor.Type() not in integers or about.ScaleLength() != 1:
        return 0.0
    return float(about.Scale(0))


def _number(array: Any) -> float:
    """An array of one number; 0 for any other, and for one that lies elsewhere."""
    if array is None or array.external_data or int(np.prod(array.dims)) != 1:
        return 0.0
    if array.float_data:
        return float(array.float_data[0])
    content = array.raw_data
    return float(np.frombuffer(content, "<f4")[0]) if len(content) == 4 else 0.0
