"""TFLite files, run by LiteRT."""

from __future__ import annotations

import dataclasses
import os
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from std_keras import quiet
from std_keras.errors import InputError
from std_keras.exporting.classifying.self_description import is_tflite, read_description
from std_keras.files.whole_file import UnreadableWholeError, check_whole_file
from std_keras.runtimes.image_file import ImageInput, layout_of, range_of
from std_keras.runtimes.last_operator import of_tflite
from std_keras.runtimes.onnx_file import first_line
from std_keras.runtimes.tflite_normalization import declared_range

_KINDS = (np.float32, np.uint8, np.int8, np.int16)
_FLEX = re.compile(r"\((Flex\w{1,80})\)")
_CUSTOM = re.compile(r"unresolved custom op: (\w{1,80})")
_STARTING = threading.Lock()  # Standard error is one for all threads.
# A fork waits for its end, or its process would find the lock taken and standard error turned away.
os.register_at_fork(
    before=_STARTING.acquire,
    after_in_parent=_STARTING.release,
    after_in_child=_STARTING.release,
)


class TfliteFile:
    """A TFLite classifier; see `ImageFile`. Every thread has an interpreter of its own.

    Args:
        path: the file.
        name: what errors call it.

    Raises:
        InputError: if it cannot be loaded, takes anything but images, or returns anything but
            numbers.
    """

    def __init__(self, path: Path, *, name: str) -> None:
        try:
            check_whole_file(path)
            self._content = path.read_bytes()
        except UnreadableWholeError as error:
            raise InputError(f"{name} {error}") from error
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror}") from error
        if not is_tflite(self._content):
            raise InputError(f"{name} is not a TFLite file")
        self._own = threading.local()
        try:
            interpreter = self._interpreter()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{name} {_why_refused(error)}") from error
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise InputError(
                f"{name} has {len(inputs)} input(s) and {len(outputs)} output(s); a teacher must "
                "have one of each: images, and class scores; convert a model with that one output"
            )
        if outputs[0]["dtype"] not in _KINDS:
            raise InputError(
                f"{name} returns {np.dtype(outputs[0]['dtype'])}; a teacher must return class "
                "scores"
            )
        self.labels: tuple[str, ...] | None = None
        self.ending = of_tflite(self._content)
        self.input = self._described(_image_input(inputs[0], name=name), name=name)

    def run(self, batch: np.ndarray) -> np.ndarray:
        try:
            interpreter = self._interpreter()
            own = interpreter.get_input_details()[0]
            if tuple(own["shape"]) != batch.shape:
                interpreter.resize_tensor_input(own["index"], batch.shape, strict=True)
                interpreter.allocate_tensors()
            interpreter.set_tensor(own["index"], batch)
            interpreter.invoke()
            output = interpreter.get_output_details()[0]
            values = interpreter.get_tensor(output["index"])
        except (ValueError, RuntimeError) as error:
            raise RuntimeError(first_line(error)) from error
        scale, zero_point = output["quantization"]
        values = np.array(values, np.float32)
        return (values - zero_point) * np.float32(scale) if scale else values

    def _interpreter(self) -> Interpreter:
        if not hasattr(self._own, "interpreter"):
            failure: Exception | None = None
            with _STARTING, quiet.muted_stderr():  # It announces its delegates.
                try:
                    interpreter = Interpreter(model_content=self._content, num_threads=1)
                    interpreter.allocate_tensors()
                except (ValueError, RuntimeError) as error:
                    failure = error
            if failure is not None:
                raise failure
            self._own.interpreter = interpreter
        return self._own.interpreter

    def _described(self, found: ImageInput, *, name: str) -> ImageInput:
        """The input with what the file says of itself; its labels, if it is of this project."""
        if found.range is None:
            found = dataclasses.replace(found, range=declared_range(self._content))
        try:
            card = read_description(self._content, name=name)
        except InputError:
            return found  # A file from elsewhere.
        self.labels = card.labels
        return dataclasses.replace(found, layout="nhwc", range="byte")


def _why_refused(error: Exception) -> str:
    """What LiteRT has against a file, and what to do; completes "FILE ..."."""
    text = str(error)
    if flex := _FLEX.search(text):
        return (
            f"needs TensorFlow's own operator {flex[1]}, which LiteRT does not have; convert it "
            "without SELECT_TF_OPS, or name the SavedModel or .keras file that it was made of"
        )
    if custom := _CUSTOM.search(text):
        return (
            f"has the custom operator {custom[1]}, which LiteRT does not have; convert it without "
            "allow_custom_ops, or name the SavedModel or .keras file that it was made of"
        )
    return f"cannot be loaded as a TFLite file: {first_line(error)}"


def _image_input(one: dict[str, Any], *, name: str) -> ImageInput:
    signature = one.get("shape_signature", one["shape"])
    sizes = [int(size) if size > 0 else None for size in signature]
    if len(sizes) != 4 or one["dtype"] not in _KINDS:
        raise InputError(
            f"{name} takes {np.dtype(one['dtype'])} of shape {tuple(map(int, one['shape']))}; a "
            "teacher must take one batch of images, float32, uint8, int8 or int16, of four axes"
        )
    shape = (sizes[1], sizes[2], sizes[3])
    kind = np.dtype(one["dtype"])
    scale, zero_point = (float(one["quantization"][0]), int(one["quantization"][1]))
    known = None
    if kind.kind in "iu" and scale:
        limits = np.iinfo(kind)
        known = range_of(*(scale * (limit - zero_point) for limit in (limits.min, limits.max)))
    elif kind == np.uint8:
        known = "byte"
    return ImageInput(
        batch=sizes[0],
        shape=shape,
        kind=kind.name,
        layout=layout_of(shape),
        range=known,
        scale=scale,
        zero_point=zero_point,
    )
