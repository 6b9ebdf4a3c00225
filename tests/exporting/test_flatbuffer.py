from __future__ import annotations

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema

from std_keras.errors import InputError
from std_keras.exporting.flatbuffer import check_builtin_ops, count_ops


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
