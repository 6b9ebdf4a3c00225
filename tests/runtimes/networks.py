"""Tiny classifiers as ONNX and TFLite files, and what they return, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, CHANNELS, CLASSES = 8, 3, 10
MATRIX = np.random.default_rng(0).normal(0, 0.2, (SIDE * SIDE * CHANNELS, CLASSES))
MATRIX = MATRIX.astype(np.float32)


def expected(images: np.ndarray) -> np.ndarray:
    """The logits (n, CLASSES) of images (n, SIDE, SIDE, CHANNELS) in the network's own range."""
    return images.astype(np.float64).reshape(len(images), -1) @ MATRIX


def write_linear(
    path: Path,
    *,
    layout: str = "nchw",
    batch: int | str = "batch",
    kind: int = TensorProto.FLOAT,
    facts: Mapping[str, str] | None = None,
    names: Sequence[str] = ("scores",),
    sizes: Sequence[int | str] | None = None,
) -> Path:
    """`expected` as an ONNX file whose input has this layout, batch and type of numbers."""
    own = (SIDE, SIDE, CHANNELS) if layout == "nhwc" else (CHANNELS, SIDE, SIDE)
    nodes = [helper.make_node("Cast", ["images"], ["real"], to=TensorProto.FLOAT)]
    last = "real"
    if layout == "nchw":
        nodes.append(helper.make_node("Transpose", [last], ["last"], perm=[0, 2, 3, 1]))
        last = "last"
    nodes += [
        helper.make_node("Flatten", [last], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], [names[0]]),
    ]
    nodes += [helper.make_node("Neg", [names[0]], [name]) for name in names[1:]]
    write(
        path,
        nodes,
        inputs={"images": (kind, [batch, *(sizes or own)])},
        outputs={name: [batch, CLASSES] for name in names},
        arrays={"matrix": MATRIX},
        facts=facts,
    )
    return path


def write(
    path: Path,
    nodes: Sequence[Any],
    *,
    inputs: Mapping[str, tuple[int, Sequence[int | str]]],
    outputs: Mapping[str, Sequence[int | str]],
    arrays: Mapping[str, np.ndarray] | None = None,
    facts: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """An ONNX file of these operators."""
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info(n, *about) for n, about in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (arrays or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if facts:
        helper.set_model_props(model, dict(facts))
    path.write_bytes(model.SerializeToString())
    return model
