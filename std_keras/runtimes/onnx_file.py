"""ONNX files, run by ONNX Runtime on the CPU."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from std_keras.errors import InputError
from std_keras.extras import imported
from std_keras.files.texts import in_message
from std_keras.files.whole_file import UnreadableWholeError, check_whole_file
from std_keras.runtimes.image_file import ImageInput, layout_of
from std_keras.runtimes.last_operator import of_onnx

_KINDS = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
}
# "Optional metadata" of the ONNX standard (its page on metadata), about images.
_RANGES = {"NominalRange_0_255": "byte", "Normalized_0_1": "unit", "Normalized_1_1": "signed"}
_FOREIGN = re.compile(r"(\S{1,80}:\w{1,80})\(-?\d+\) is not a registered function/op")
_NEWER = re.compile(
    r"Unsupported model IR version: \d+|Opset \d+ is under development|"
    r"Current official support for domain \S{1,80} is till opset \d+"
)
# What stands before its own words: codes, places on this machine, and functions of its source.
_INSIDE = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .* failed:)?(/\S*:\d+ \S.*\) )?"
)
_MOST_NAMES = 8  # In a message.
_LARGEST = 2**31  # Bytes of a message, by protobuf.
_DEPTH = 100  # Of messages inside messages; protobuf's own limit.
# Of a network, its functions unfolded, as the runtime does. Large classifiers have some thousands,
# with quantised numbers three times as many; a few functions that call each other twice have 2^30.
_MOST_OPERATORS = 30_000


class OnnxFile:
    """An ONNX classifier; see `ImageFile`.

    Args:
        path: the file.
        name: what errors call it.
        output: the name of the output that is meant, if it has several.

    Raises:
        InputError: if it cannot be loaded, takes anything but images, or returns anything but
            numbers.
    """

    labels: tuple[str, ...] | None = None

    def __init__(self, path: Path, *, name: str, output: str | None = None) -> None:
        model = read_model(path, name=name)
        _parts(path, model, name=name)  # Refuses data that lies elsewhere.
        runtime: Any = imported("onnxruntime", needed_by=name)
        options = runtime.SessionOptions()
        # Whoever runs it cuts batches, and runs the parts on threads of its own.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = 4  # What is an error becomes an exception.
        try:
            self._session = runtime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
            facts = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:  # Its errors have no common ancestor.
            raise InputError(f"{name} {_why_refused(error)}") from error
        if len(inputs) != 1:
            raise InputError(
                f"{name} takes {len(inputs)} inputs ({_shown([one.name for one in inputs])}); a "
                "teacher must take one batch of images"
            )
        self._input = inputs[0].name
        self._output = _chosen(outputs, output, name=name).name
        self.input = _image_input(inputs[0], facts, name=name)
        self.ending = of_onnx(model, self._output)

    def run(self, batch: np.ndarray) -> np.ndarray:
        try:
            (result,) = self._session.run([self._output], {self._input: batch})
        except Exception as error:
            raise RuntimeError(first_line(error)) from error
        return np.asarray(result, np.float32)


def read_model(path: Path, *, name: str) -> Any:
    """The description in an ONNX file, without the arrays that lie elsewhere; nothing is run.

    Raises:
        InputError: if it is no ONNX file.
    """
    onnx: Any = imported("onnx", needed_by=name)
    _check(path, name, largest=_LARGEST)
    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except Exception as error:  # protobuf's errors.
        raise InputError(
            f"{name} is not an ONNX file, or is cut short: {first_line(error)}"
        ) from error
    if not model.graph.node:
        raise InputError(f"{name} is not an ONNX file of a network: it has no operators")
    if _operators(model) > _MOST_OPERATORS:
        raise InputError(
            f"{name} has more than {_MOST_OPERATORS:,} operators, which no classifier has; it is "
            "not used"
        )
    return model


def _operators(model: Any) -> int:
    """How many a network has, its functions unfolded; too many for one that unfolds for ever."""
    functions = {(one.domain, one.name): one for one in model.functions}
    known: dict[tuple[str, str], int] = {}

    def of_function(key: tuple[str, str], depth: int) -> int:
        if key not in known:
            known[key] = of_nodes(functions[key].node, depth)
        return known[key]

    def of_nodes(nodes: Any, depth: int) -> int:
        if depth > _DEPTH:
            return _MOST_OPERATORS + 1
        count = len(nodes)
        for node in nodes:
            if count > _MOST_OPERATORS:
                break
            if (key := (node.domain, node.op_type)) in functions:
                count += of_function(key, depth + 1)
            for attribute in node.attribute:
                for graph in (attribute.g, *attribute.graphs):
                    count += of_nodes(graph.node, depth + 1)
        return count

    return of_nodes(model.graph.node, 0)


def parts(path: Path, *, name: str) -> list[Path]:
    """The file, and the files beside it in which it keeps its large arrays.

    Raises:
        InputError: if it is no ONNX file, or names a file that is not there or lies outside its
            own folder.
    """
    return _parts(path, read_model(path, name=name), name=name)


def _parts(path: Path, model: Any, *, name: str) -> list[Path]:
    folders = {path.parent.resolve(), path.resolve().parent}  # A hub's cache is made of links.
    found: list[Path] = []
    for location in sorted(set(_locations(model))):
        written = PurePosixPath(location)
        file = path.parent / written
        # Neither name can be looked up: one with a zero byte, one that is too long.
        inside = "\0" not in location and len(location) < 1000
        inside = inside and any(file.resolve().is_relative_to(folder) for folder in folders)
        where = f"{name} keeps data in {location[:80]!r}"
        if written.is_absolute() or ".." in written.parts or "\\" in location or not inside:
            raise InputError(
                f"{where}, outside its own folder; use a file that keeps it beside itself"
            )
        if not os.path.isfile(file):
            raise InputError(f"{where}, which is not in {path.parent}; copy it there")
        _check(file, f"{where}, which")
        found.append(file)
    return [path, *found]


def _check(file: Path, what: str, *, largest: int | None = None) -> None:
    try:
        check_whole_file(file)
        if largest is not None and file.stat().st_size > largest:
            raise UnreadableWholeError("is larger than protobuf allows, 2 GiB; it is damaged")
    except UnreadableWholeError as error:
        raise InputError(f"{what} {error}") from error
    except OSError as error:
        raise InputError(f"{what} cannot be read: {error.strerror}") from error


def _locations(message: Any, depth: int = 0) -> Iterator[str]:
    """Where the arrays of a message, and of all messages inside it, are kept, if not in it."""
    if depth > _DEPTH:
        return
    if message.DESCRIPTOR.name == "TensorProto":
        yield from (entry.value for entry in message.external_data if entry.key == "location")
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in (value,) if hasattr(value, "ListFields") else value:
                yield from _locations(one, depth + 1)


def _chosen(outputs: Sequence[Any], wanted: str | None, *, name: str) -> Any:
    by_name = {one.name: one for one in outputs}
    chosen = by_name.get(wanted or "logits") or by_name.get("logits")
    if chosen is None and len(outputs) == 1:
        chosen = outputs[0]
    if chosen is None:
        raise InputError(
            f"{name} returns {_shown(sorted(by_name))}; it must return one array, or call one "
            "logits (output_names of torch.onnx.export)"
        )
    if chosen.type not in ("tensor(float)", "tensor(float16)", "tensor(double)"):
        raise InputError(f"{name} returns {chosen.type}; a teacher must return class scores")
    return chosen


def _shown(names: Sequence[str]) -> str:
    """The first of the names, which may be anything."""
    rest = [f"and {len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    return ", ".join([*map(in_message, names[:_MOST_NAMES]), *rest]) or "nothing"


def _image_input(one: Any, facts: dict[str, str], *, name: str) -> ImageInput:
    sizes = [size if isinstance(size, int) and size > 0 else None for size in one.shape or ()]
    if len(sizes) != 4 or one.type not in _KINDS:
        raise InputError(
            f"{name} takes {one.type} of shape {one.shape}; a teacher must take one batch of "
            "images, as tensor(float) or tensor(uint8) of four axes"
        )
    shape = (sizes[1], sizes[2], sizes[3])
    kind = _KINDS[one.type]
    own_range = _RANGES.get(facts.get("Image.NominalPixelRange", ""))
    return ImageInput(
        batch=sizes[0],
        shape=shape,
        kind=kind,
        layout=layout_of(shape),
        range="byte" if kind == "uint8" else own_range,
        bgr=facts.get("Image.BitmapPixelFormat", "").startswith("Bgr"),
    )


def _why_refused(error: Exception) -> str:
    """What ONNX Runtime has against a file, and what to do; completes "FILE ..."."""
    text = str(error)
    if foreign := _FOREIGN.search(text):
        return (
            f"has the operator {in_message(foreign[1])}, which ONNX Runtime does not have; export "
            "it with the operators of the ONNX standard alone"
        )
    if newer := _NEWER.search(text):
        return (
            f"is of a newer ONNX than ONNX Runtime {_version()} reads ({newer[0].strip()}); export "
            "it with an older opset_version, or update onnxruntime"
        )
    return f"cannot be loaded as an ONNX file: {_INSIDE.sub('', first_line(error))}"


def _version() -> str:
    return importlib.metadata.version("onnxruntime")


def first_line(error: BaseException) -> str:
    """What an exception says, in one line."""
    lines = str(error).strip().splitlines()
    return in_message(lines[0].strip(), most=300) if lines else type(error).__name__
