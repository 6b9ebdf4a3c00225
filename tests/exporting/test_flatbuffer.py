from __future__ import annotations

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from std_keras.errors import InputError
from std_keras.exporting.flatbuffer import check_builtin_ops, compact, count_ops


def file_with(codes: list[tuple[int, int, bytes | None]], operators: list[list[int]]) -> bytes:
    """A TFLite file of the given operator codes, used by number in each subgraph."""
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes = []
    for deprecated, builtin, custom in codes:
        code = schema.OperatorCodeT()
        code.deprecatedBuiltinCode, code.builtinCode, code.customCode = deprecated, builtin, custom
        model.operatorCodes.append(code)
    model.subgraphs = []
    for indices in operators:
        graph = schema.SubGraphT()
        graph.operators = []
        for index in indices:
            operator = schema.OperatorT()
            operator.opcodeIndex = index
            graph.operators.append(operator)
        model.subgraphs.append(graph)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_ops_are_counted_over_all_subgraphs():
    fully_connected, gelu = schema.BuiltinOperator.FULLY_CONNECTED, schema.BuiltinOperator.GELU
    # Numbers above 127 do not fit into the old field, which then holds 127.
    codes = [(fully_connected, fully_connected, None), (127, gelu, None)]
    content = file_with(codes, [[0, 1, 0], [0]])
    assert count_ops(content) == {"FULLY_CONNECTED": 3, "GELU": 1}
    check_builtin_ops(content, model_name="m")


def test_a_file_of_an_old_converter_is_read():
    assert count_ops(file_with([(9, 0, None)], [[0]])) == {"FULLY_CONNECTED": 1}


def test_foreign_operators_are_refused_by_name():
    custom = schema.BuiltinOperator.CUSTOM
    content = file_with([(custom, custom, b"FlexErf"), (0, 0, None)], [[1, 0]])
    assert count_ops(content) == {"ADD": 1, "CUSTOM:FlexErf": 1}
    with pytest.raises(InputError, match=r"model m .*FlexErf"):
        check_builtin_ops(content, model_name="m")


def quantised_file() -> tuple[bytes, list[np.ndarray]]:
    """Two kernels with a scale and a zero point for each of their 40 channels."""
    model = schema.ModelT()
    model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], []
    graph = schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
    kernels = [np.arange(80, dtype=np.uint8), np.arange(80, 160, dtype=np.uint8)]
    for number, kernel in enumerate(kernels):
        buffer, tensor = schema.BufferT(), schema.TensorT()
        buffer.data = kernel
        model.buffers += [schema.BufferT(), buffer]
        tensor.name, tensor.shape = f"a/kernel_{number};b".encode(), [40, 2]
        tensor.type, tensor.buffer = schema.TensorType.INT8, len(model.buffers) - 1
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.full(40, 0.5 + number, np.float32)
        tensor.quantization.zeroPoint = np.zeros(40, np.int64)
        computed = schema.TensorT()
        computed.name, computed.shape = b"a/sum;b/sum", [1]
        computed.buffer = len(model.buffers) - 2
        computed.quantization = schema.QuantizationParametersT()
        graph.tensors += [tensor, computed]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output()), kernels


def test_a_compact_file_says_the_same():
    content, kernels = quantised_file()
    small = compact(content)
    assert len(small) < len(content) - 40 * 8  # One list of zero points less.
    model = schema.Model.GetRootAs(small, 0)
    graph = model.Subgraphs(0)
    assert model.BuffersLength() == 1 + 2
    for number, kernel in enumerate(kernels):
        tensor = graph.Tensors(2 * number)
        np.testing.assert_array_equal(model.Buffers(tensor.Buffer()).DataAsNumpy(), kernel)
        quantization = tensor.Quantization()
        np.testing.assert_array_equal(quantization.ScaleAsNumpy(), np.full(40, 0.5 + number))
        np.testing.assert_array_equal(quantization.ZeroPointAsNumpy(), np.zeros(40))
        np.testing.assert_array_equal(tensor.ShapeAsNumpy(), [40, 2])
    computed = graph.Tensors(1)
    assert (computed.Name(), computed.Buffer(), computed.Quantization()) == (b"a/sum", 0, None)


def test_constants_of_a_compact_file_are_aligned():
    small = compact(quantised_file()[0])
    model = schema.Model.GetRootAs(small, 0)
    for number in (1, 2):
        buffer = model.Buffers(number)
        start = buffer._tab.Vector(buffer._tab.Offset(4))
        assert start % 16 == 0
        assert bytes(small[start : start + 3]) == bytes(buffer.DataAsNumpy()[:3])
