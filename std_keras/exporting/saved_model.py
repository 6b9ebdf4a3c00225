"""Writes a SavedModel that TensorFlow alone can load and serve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras import quiet
from std_keras.data.graph_decoder import decode_rgb
from std_keras.data.images import resize_and_crop
from std_keras.exporting.inference import ServingModule
from std_keras.files.paths import plain_path
from std_keras.files.replaced_folder import replaced_folder


def write_saved_model(model: keras.Model, path: Path, *, crop_ratio: float = 1.0) -> None:
    """Writes `path`, a folder, in one go, see `replaced_folder`.

    Two signatures, for any batch size B, return `logits` and `probabilities`, float32
    (B, num_classes): `serving_default` takes `images`, uint8 (B, H, W, C); `serving_bytes` takes
    `image_bytes`, strings (B,), each the content of a file that `graph_decoder.decode_rgb` reads,
    which is decoded, scaled and cut as in evaluation.

    Args:
        model: as `inference_model` returns it.
        path: the folder; one that is there is replaced.
        crop_ratio: see `std_keras.data.images.resize_and_crop`.
    """
    module = ServingModule(model, batch_size=None, probabilities=True)
    signatures = {
        "serving_default": module.serve,
        "serving_bytes": _bytes_function(module, model.input_shape[1:], crop_ratio=crop_ratio),
    }
    with replaced_folder(path) as part:
        save_silently(module, part, signatures=signatures)


def save_silently(
    module: ServingModule, path: Path, *, signatures: Mapping[str, Callable[..., Any]] | None = None
) -> None:
    """`tf.saved_model.save` without its log lines, even if it fails.

    Args:
        module: what is saved.
        path: the folder.
        signatures: functions by name; `serving_default` alone if not given.
    """
    signatures = signatures or {"serving_default": module.serve}
    failure: Exception | None = None
    with quiet.muted_stderr():
        try:
            path.mkdir(parents=True, exist_ok=True)
            tf.saved_model.save(module, plain_path(path), signatures=signatures)
        except Exception as error:  # Raised again outside, where its noise stays muted.
            failure = error
    if failure is not None:
        raise failure


def _bytes_function(
    module: ServingModule, image_shape: tuple[int, ...], *, crop_ratio: float
) -> Callable[..., Any]:
    """The function of `serving_bytes`."""
    size, _, channels = image_shape

    def read(content: tf.Tensor) -> tf.Tensor:
        image = resize_and_crop(_decode(content), size, crop_ratio=crop_ratio)
        return image if channels == 3 else tf.image.rgb_to_grayscale(image)

    def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels = tf.map_fn(
            read, image_bytes, fn_output_signature=tf.TensorSpec(image_shape, tf.uint8)
        )
        return module.serve(pixels)

    return tf.function(
        serve,
        input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")],
        autograph=False,
    )


# Traced once for all files of a process: it was more than half of the time to write one.
_decode = tf.function(decode_rgb, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)


def run_saved_model(path: Path, images: np.ndarray, *, batch_size: int = 128) -> np.ndarray:
    """Loads a SavedModel and returns its logits (n, num_classes) of images (n, H, W, C) uint8."""
    with quiet.muted_stderr():
        loaded = tf.saved_model.load(plain_path(path))
    serve = loaded.signatures["serving_default"]
    parts = [
        serve(images=tf.constant(images[start : start + batch_size]))["logits"].numpy()
        for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(parts)


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())
