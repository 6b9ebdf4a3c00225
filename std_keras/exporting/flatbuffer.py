"""Reads what is inside a TFLite file, without running it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from std_keras.errors import InputError
from std_keras.exporting.classifying.small_file import packed

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


@dataclass(frozen=True)
class Matmul:
    """A dense layer of a float32 file.

    Attributes:
        reads: the number of the tensor that is multiplied.
        kernel: (outputs, inputs).
        buffer: the number of where the kernel lies; that of other matmuls that share it, too.
    """

    reads: int
    kernel: np.ndarray
    buffer: int


@dataclass(frozen=True)
class Grid:
    """A kernel of 4 bits.

    Attributes:
        numbers: (outputs, inputs) int8, whole numbers from -7 to 7.
        scales: (outputs,) float32, by which they are multiplied.
    """

    numbers: np.ndarray
    scales: np.ndarray

    def values(self) -> np.ndarray:
        """(outputs, inputs): the kernel."""
        return self.numbers * self.scales[:, np.newaxis]


def matmuls(content: bytes) -> dict[str, Matmul]:
    """The matmuls of the first subgraph with a constant float32 kernel, by the operator's name."""
    model = _unpacked(content)
    graph = model.subgraphs[0]
    found = {}
    for op, (name, kind) in zip(graph.operators, named_ops(content), strict=True):
        tensor = graph.tensors[op.inputs[1]] if kind == "FULLY_CONNECTED" else None
        if tensor is None or tensor.type != schema.TensorType.FLOAT32:
            continue
        data = model.buffers[tensor.buffer].data
        if data is not None and len(data):
            kernel = np.frombuffer(bytes(data), np.float32).reshape(tensor.shape)
            found[name] = Matmul(int(op.inputs[0]), kernel, int(tensor.buffer))
    return found


def with_grids(content: bytes, grids: Mapping[str, Grid]) -> bytes:
    """The same file with other kernels for some matmuls that have kernels of 4 bits.

    Args:
        content: the file.
        grids: by the operator's name, of the shapes that the kernels have.
    """
    model = _unpacked(content)
    graph = model.subgraphs[0]
    for op, (name, _) in zip(graph.operators, named_ops(content), strict=True):
        if name in grids:
            tensor = graph.tensors[op.inputs[1]]
            if tensor.type != schema.TensorType.INT4:
                raise ValueError(f"{name} has no kernel of 4 bits")
            tensor.quantization.scale = grids[name].scales
            nibbles = grids[name].numbers.reshape(-1).view(np.uint8) & 0xF
            # Two in a byte, the first in its lower half; a matmul's inputs are even.
            model.buffers[tensor.buffer].data = nibbles[::2] | nibbles[1::2] << 4
    return packed(model, len(content))


def compact(content: bytes) -> bytes:
    """The same file without what a small network pays much for, and with aligned constants.

    - A kernel with a scale per output channel has as many zero points, all 0 and of 8 bytes. Equal
      lists, of shapes too, are stored once, which the format allows.
    - Of a tensor that came from several operators the first name is kept, and that of its copy in
      integers is not. Constants have none: what reads them bears the name of their layer.
    - Tensors that are computed share the empty buffer; those in float32 have no entry for scales.
    """
    model = _unpacked(content)
    kept = {0: 0}  # Number 0 is the empty one.
    for entry in model.metadata or ():
        kept.setdefault(entry.buffer, len(kept))
    for graph in model.subgraphs:
        named: set[bytes] = set()
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            is_constant = data is not None and len(data) > 0
            name = (tensor.name or b"").split(b";")[0]
            tensor.name = b"" if is_constant or name in named else name
            named.add(name)
            tensor.buffer = kept.setdefault(tensor.buffer, len(kept)) if is_constant else 0
            if tensor.quantization is not None and tensor.quantization.scale is None:
                tensor.quantization = None
    for entry in model.metadata or ():
        entry.buffer = kept[entry.buffer]
    model.buffers = [model.buffers[former] for former in kept]
    return packed(model, len(content))


def _unpacked(content: bytes) -> schema.ModelT:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for buffer in model.buffers:
        if buffer.offset > 1:  # It lies behind the tables.
            end = buffer.offset + buffer.size
            buffer.data = np.frombuffer(content, np.uint8)[buffer.offset : end]
            buffer.offset = buffer.size = 0
    return model


def check_builtin_ops(content: bytes, *, model_name: str) -> None:
    """Checks that any TFLite runtime can run the file.

    Raises:
        InputError: an operator needs the TensorFlow runtime or custom code.
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
