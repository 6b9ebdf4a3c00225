"""Reads what is inside a TFLite file, without running it."""

from __future__ import annotations

from collections import Counter

from ai_edge_litert import schema_py_generated as schema

from std_keras.errors import InputError

_BUILTIN_NAMES = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
}


def count_ops(content: bytes) -> dict[str, int]:
    """Counts the operators of a TFLite file by name, all subgraphs together, most frequent first.

    Builtin operators have the names of the schema, for example "FULLY_CONNECTED"; others are
    "CUSTOM:" with the name of the operator, for example "CUSTOM:FlexErf".
    """
    model = schema.Model.GetRootAs(content, 0)
    names = [_name(model.OperatorCodes(i)) for i in range(model.OperatorCodesLength())]
    counts: Counter[str] = Counter()
    for i in range(model.SubgraphsLength()):
        graph = model.Subgraphs(i)
        for j in range(graph.OperatorsLength()):
            counts[names[graph.Operators(j).OpcodeIndex()]] += 1
    return dict(counts.most_common())


def named_ops(content: bytes) -> list[tuple[str, str]]:
    """The operators of the first subgraph in their order: names of the output and the operator."""
    model = schema.Model.GetRootAs(content, 0)
    kinds = [_name(model.OperatorCodes(i)) for i in range(model.OperatorCodesLength())]
    graph = model.Subgraphs(0)
    found = []
    for i in range(graph.OperatorsLength()):
        op = graph.Operators(i)
        names = [graph.Tensors(op.Outputs(j)).Name() or b"" for j in range(op.OutputsLength())]
        found.append((b";".join(names).decode(), kinds[op.OpcodeIndex()]))
    return found


def check_builtin_ops(content: bytes, *, model_name: str) -> None:
    """Checks that any TFLite runtime can run the file.

    Raises:
        InputError: an operator needs the TensorFlow runtime or code of its own.
    """
    foreign = [name for name in count_ops(content) if name.startswith("CUSTOM:")]
    if foreign:
        raise not_builtin(model_name, [name.removeprefix("CUSTOM:") for name in foreign])


def not_builtin(model_name: str, ops: list[str]) -> InputError:
    """The error for operators that TFLite does not have."""
    return InputError(
        f"the model {model_name} cannot be exported to TFLite: it uses {', '.join(ops)}, which is "
        "not a builtin operator of TFLite; replace the layer that uses it"
    )


def _name(code: schema.OperatorCode) -> str:
    # Files of old converters have the number in the one-byte field only; the larger is right.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    if number == schema.BuiltinOperator.CUSTOM:
        return f"CUSTOM:{(code.CustomCode() or b'?').decode()}"
    return _BUILTIN_NAMES.get(number, f"CUSTOM:{number}")
