"""Converts a model to a TFLite file for a phone: one image at a time, builtin operators only."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from std_keras import quiet
from std_keras.exporting.file_kinds import INPUT_TYPES, QUANTIZATIONS
from std_keras.exporting.flatbuffer import check_builtin_ops, not_builtin
from std_keras.exporting.inference import ServingModule
from std_keras.exporting.pixels import pixels_in_stem
from std_keras.exporting.quantize import has_mixing_mlps, measure, needs_images, plan, quantize
from std_keras.exporting.saved_model import save_silently
from std_keras.files.paths import plain_path

# The converter names an operator that it cannot translate as 'tf.ResizeBicubic'.
_UNTRANSLATED = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")


def convert(
    model: keras.Model,
    *,
    quantization: str,
    input_type: str = "uint8",
    representative_images: np.ndarray | None = None,
    float32_content: bytes | None = None,
) -> bytes:
    """Converts to the content of a TFLite file.

    The file has the signature `serving_default`: input `images` (1, H, W, C), pixels 0..255 of
    `input_type`, normalised inside; output `logits`, float32 (1, num_classes). All shapes are
    static. The normalisation of pixels is in the stem's kernel where it can be.

    Args:
        model: as `inference_model` returns it.
        quantization: "float32"; "float16" (kernels stored in half precision); "dynamic" (weights
            int8 per output channel, activations quantised on the fly before each matmul); "int8"
            (as "dynamic", but with ranges that were measured on representative images where that
            is no slower: in matmuls along the patches; a network without GELU is quantised as a
            whole); "int4" (as "dynamic", but with kernels of 4 bits in matmuls along the channels,
            rounded by what they multiply representative images to).
        input_type: "uint8" or "float32".
        representative_images: (n, H, W, C) uint8, for "int8" and "int4" alone: 100 to 200 training
            images.
        float32_content: what this function returned for "float32" and otherwise the same arguments,
            if it is at hand: that saves most of the time.

    Raises:
        InputError: the model uses an operator that is not a builtin one of TFLite.
        ValueError: an argument has no such value, or images are missing.
    """
    if quantization not in QUANTIZATIONS:
        raise ValueError(f"quantization={quantization!r} is not one of {', '.join(QUANTIZATIONS)}")
    if input_type not in INPUT_TYPES:
        raise ValueError(f"input_type={input_type!r} is not one of {', '.join(INPUT_TYPES)}")
    if needs_images(quantization) != (representative_images is not None):
        raise ValueError("representative_images apply to quantization='int8' and 'int4' only")

    content = float32_content or _converted(model, "float32", input_type, None)
    if quantization == "float32":
        return content
    if quantization == "int8" and not has_mixing_mlps(content):
        return _converted(model, quantization, input_type, representative_images)
    ops = plan(content, quantization=quantization)
    if not ops:
        return content
    images = representative_images
    pixels = None if images is None else images.astype(input_type)
    return quantize(content, ops, measure(content, ops, pixels))


def _converted(
    model: keras.Model,
    quantization: str,
    input_type: str,
    representative_images: np.ndarray | None,
) -> bytes:
    """By TensorFlow's converter."""
    module = ServingModule(pixels_in_stem(model), batch_size=1, input_type=input_type)
    # By way of a SavedModel: it freezes the variables (a bare concrete function would convert to a
    # file that returns NaN) and keeps the names of inputs and outputs.
    with tempfile.TemporaryDirectory(prefix="std_keras_") as folder:
        path = Path(folder) / "saved_model"
        save_silently(module, path)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            plain_path(path), signature_keys=["serving_default"]
        )
        _set_quantization(converter, quantization, input_type, representative_images)
        content = _convert_silently(converter, model_name=model.name)
    check_builtin_ops(content, model_name=model.name)
    return content


def _set_quantization(
    converter: tf.lite.TFLiteConverter,
    quantization: str,
    input_type: str,
    representative_images: np.ndarray | None,
) -> None:
    builtins = tf.lite.OpsSet.TFLITE_BUILTINS
    converter.target_spec.supported_ops = [builtins]
    if quantization != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if representative_images is not None:
        images = representative_images.astype(input_type)

        def representative_dataset() -> Iterator[dict[str, np.ndarray]]:
            for image in images:
                yield {"images": image[np.newaxis]}

        converter.representative_dataset = representative_dataset
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, builtins]


def _convert_silently(converter: tf.lite.TFLiteConverter, *, model_name: str) -> bytes:
    failure: Exception | None = None
    with quiet.muted_stderr(), warnings.catch_warnings():
        # The converter's own calibration still runs on tf.lite.Interpreter.
        warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
        try:
            return bytes(converter.convert())
        except Exception as error:  # Handled outside, where its noise stays muted.
            failure = error
    names = sorted(set(_UNTRANSLATED.findall(str(failure))))
    if names:
        raise not_builtin(model_name, names) from failure
    raise failure
