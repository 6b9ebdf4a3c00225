"""Fewer bits for a float32 TFLite file, operator by operator, by AI Edge Quantizer.

For float16, kernels are stored in half precision; the arithmetic is float32. Otherwise kernels
become int8 with a scale per output channel, and what an operator reads becomes int8 in one of two
ways:

- dynamic: a range for each row, found while the file runs. Matmuls along the channels, whose rows
  are patches.
- static: one range for the tensor, measured on training images. Matmuls along the patches.

For int4, kernels of matmuls along the channels get 4 bits and dynamic ranges; all others 8.

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
from std_keras.exporting.flatbuffer import compact, count_ops, matmuls, named_ops, with_grids
from std_keras.exporting.four_bits import rounded_kernels, second_moments

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
        bits: of a weight in integers, 8 or 4.
    """

    name: str
    kind: str
    activations: str
    bits: int = 8


@dataclass(frozen=True)
class Measured:
    """What is known of a float32 file's tensors from training images.

    Attributes:
        ranges: of every tensor by name, if an operator has static ones.
        moments: of `four_bits.second_moments`, for operators of 4 bits.
    """

    ranges: Ranges | None
    moments: Mapping[str, np.ndarray]


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
    """The operators of a float32 file that a quantization but "float32" changes, in its order."""
    if quantization == "float16":
        kinds = (*_WEIGHTED, "DEPTHWISE_CONV_2D")
        return tuple(
            QuantizedOp(name, kind, FLOAT) for name, kind in named_ops(content) if kind in kinds
        )
    ops = [(name, kind) for name, kind in named_ops(content) if kind in _WEIGHTED]
    mixing = has_mixing_mlps(content)
    four = _for_four_bits(content) if quantization == "int4" else set()

    def planned(name: str, kind: str) -> QuantizedOp:
        is_static = quantization == "int8" and (not mixing or _is_along_patches(name))
        bits = 4 if name in four else 8
        return QuantizedOp(name, kind, STATIC if is_static else DYNAMIC, bits)

    return tuple(planned(name, kind) for name, kind in ops)


def _is_along_patches(name: str) -> bool:
    return bool(_ALONG_PATCHES.search(layer_of(name)))


def _for_four_bits(content: bytes) -> set[str]:
    """The matmuls that may have kernels of 4 bits.

    XNNPACK takes those with an even number of inputs. Along the patches there are few weights.
    """
    return {
        name
        for name, found in matmuls(content).items()
        if not found.kernel.shape[1] % 2 and not _is_along_patches(name)
    }


def needs_images(quantization: str) -> bool:
    """Whether training images are looked at."""
    return quantization in ("int8", "int4")


def measure(content: bytes, ops: Sequence[QuantizedOp], images: np.ndarray | None) -> Measured:
    """Runs a float32 file over images, as far as some of its operators ask for it.

    Args:
        content: the file.
        ops: those that will be quantised.
        images: (n, H, W, C) in the type of its input; None if no operator asks for them.
    """
    static = any(op.activations == STATIC for op in ops)
    four = [op.name for op in ops if op.bits == 4]
    if not (static or four):
        return Measured(None, {})
    if images is None:
        raise ValueError("representative_images are missing")
    return Measured(
        _ranges(content, images) if static else None,
        second_moments(content, four, images) if four else {},
    )


def _ranges(content: bytes, images: np.ndarray) -> Ranges:
    """The range of every tensor by name."""
    quantizer = _quantizer(content)
    quantizer.add_static_config(".*", "FULLY_CONNECTED", 8, 8)
    quantizer.add_static_config(".*", "CONV_2D", 8, 8)
    samples = [{"images": image[np.newaxis]} for image in images]
    with _silently():
        return dict(quantizer.calibrate({"serving_default": samples}, num_threads=1))


def quantize(content: bytes, ops: Sequence[QuantizedOp], measured: Measured) -> bytes:
    """Quantises the given operators of a float32 file, and no others.

    Args:
        content: the float32 file.
        ops: at least one.
        measured: of `measure`, for these operators and perhaps more.
    """
    four = {op.name: measured.moments[op.name] for op in ops if op.bits == 4}
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
            quantizer.add_dynamic_config(pattern, op.kind, op.bits)
    ranges = None
    if any(op.activations == STATIC for op in ops) and measured.ranges is not None:
        ranges = dict(measured.ranges)
    with _silently():
        result = quantizer.quantize(ranges, enable_progress_report=False)
    quantized = bytes(result.quantized_model)
    if four:
        # The quantizer rounds kernels to the nearest, and guesses the grid of those that have one.
        quantized = with_grids(quantized, rounded_kernels(content, four))
    return compact(quantized)


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
