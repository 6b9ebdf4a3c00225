"""Fewer bits for a float32 TFLite file, operator by operator, by AI Edge Quantizer.

For float16, kernels are stored in half precision; the arithmetic is float32. Otherwise kernels
become int8 with a scale per output channel, and what an operator reads becomes int8 in one of two
ways:

- dynamic: a range for each row, found while the file runs. Matmuls along the channels, whose rows
  are patches.
- static: one range for the tensor, measured on training images. Matmuls along the patches.

All else stays in float32: norms, residual sums and GELU, which have no fast integer kernels and
would lose digits between two matmuls.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from std_keras import quiet
from std_keras.exporting.flatbuffer import compact, count_ops, named_ops

FLOAT, DYNAMIC, STATIC = "float", "dynamic", "static"
# A depthwise convolution is left out: XNNPACK has none with dynamic ranges, and it has few weights.
_WEIGHTED = ("FULLY_CONNECTED", "CONV_2D")
# Matmuls along the patches.
_ALONG_PATCHES = re.compile(r"/((token_mlp|spatial_mlp_\d+)/(hidden|output)|token_dense)$")
# What a matmul or a convolution is called inside the scope of its layer.
_PRODUCT = re.compile(r"/(Tensordot|MatMul|convolution)(?=[_/\d]|$)")
# Keras opens the scope of a layer twice, and TensorFlow numbers the second: block_0_1/hidden_1.
_NUMBER = re.compile(r"_\d+$")

Ranges = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class QuantizedOp:
    """One operator that is to compute with integers.

    Attributes:
        name: of the operator: the names of its outputs, joined by semicolons.
        kind: of the operator, "FULLY_CONNECTED" for example.
        activations: "dynamic" or "static"; or "float" for kernels in half precision.
    """

    name: str
    kind: str
    activations: str


def layer_of(name: str) -> str:
    """The path of the layer whose kernel an operator multiplies with, without the model's name.

    Args:
        name: of the operator: the names of what the converter put together in it.
    """
    parts = name.split(";")
    paths = [found.string[: found.start()] for found in map(_PRODUCT.search, parts) if found]
    scopes = (paths[0] if paths else parts[0].rpartition("/")[0]).split("/")
    return "/".join(_NUMBER.sub("", scope) for scope in scopes[1:]) or "head"


def has_mixing_mlps(content: bytes) -> bool:
    """Whether there are GELUs between the matmuls: then the plan for int8 applies."""
    return "GELU" in count_ops(content)


def plan(content: bytes, *, quantization: str) -> tuple[QuantizedOp, ...]:
    """The operators of a float32 file that "float16", "dynamic" or "int8" change, in its order."""
    if quantization == "float16":
        kinds = (*_WEIGHTED, "DEPTHWISE_CONV_2D")
        return tuple(
            QuantizedOp(name, kind, FLOAT) for name, kind in named_ops(content) if kind in kinds
        )
    ops = [(name, kind) for name, kind in named_ops(content) if kind in _WEIGHTED]
    mixing = has_mixing_mlps(content)
    static = [
        quantization == "int8" and (not mixing or bool(_ALONG_PATCHES.search(layer_of(name))))
        for name, _ in ops
    ]
    return tuple(
        QuantizedOp(name, kind, STATIC if is_static else DYNAMIC)
        for (name, kind), is_static in zip(ops, static, strict=True)
    )


def measure_ranges(content: bytes, images: np.ndarray) -> Ranges:
    """Runs a float32 file over images (n, H, W, C); the range of every tensor by name."""
    quantizer = _quantizer(content)
    quantizer.add_static_config(".*", "FULLY_CONNECTED", 8, 8)
    quantizer.add_static_config(".*", "CONV_2D", 8, 8)
    samples = [{"images": image[np.newaxis]} for image in images]
    with _silently():
        return dict(quantizer.calibrate({"serving_default": samples}, num_threads=1))


def quantize(content: bytes, ops: Sequence[QuantizedOp], *, ranges: Ranges | None = None) -> bytes:
    """Quantises the given operators of a float32 file, and no others.

    Args:
        content: the float32 file.
        ops: at least one.
        ranges: of `measure_ranges`, for static ones.
    """
    quantizer = _quantizer(content)
    for op in ops:
        pattern = f"^{re.escape(op.name)};$"
        if op.activations == FLOAT:
            quantizer.update_quantization_recipe(
                pattern, op.kind, _half_precision(), algorithm_key="float_casting"
            )
        elif op.activations == STATIC:
            quantizer.add_static_config(pattern, op.kind, 8, 8)
        else:
            quantizer.add_dynamic_config(pattern, op.kind, 8)
    measured = None
    if any(op.activations == STATIC for op in ops) and ranges is not None:
        measured = dict(ranges)
    with _silently():
        result = quantizer.quantize(measured, enable_progress_report=False)
    return compact(bytes(result.quantized_model))


@contextlib.contextmanager
def _silently() -> Iterator[None]:
    """Without progress bars, and without the warning that all tensors are kept: it is wanted."""
    with quiet.muted_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _half_precision() -> Any:
    from ai_edge_quantizer import qtyping

    return qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=16, dtype=qtyping.TensorDataType.FLOAT
        ),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )


def _quantizer(content: bytes) -> Any:
    from ai_edge_quantizer import quantizer

    return quantizer.Quantizer(bytearray(content))
