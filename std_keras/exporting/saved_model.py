"""Writes a SavedModel that TensorFlow alone can load and serve."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from std_keras import quiet
from std_keras.exporting.inference import ServingModule


def write_saved_model(model: keras.Model, path: Path) -> None:
    """Writes `path`, a folder, in one go: a crash leaves the former one or the new one.

    The signature `serving_default` takes `images`, uint8 (B, H, W, C) with any B, and returns
    `logits` and `probabilities`, float32 (B, num_classes).

    Args:
        model: as `inference_model` returns it.
        path: the folder; one that is there is replaced.
    """
    module = ServingModule(model, batch_size=None, probabilities=True)
    part, former = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.former")
    for leftover in (part, former):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        save_silently(module, part)
        if path.exists():
            path.rename(former)
        part.rename(path)
    finally:
        for leftover in (part, former):
            shutil.rmtree(leftover, ignore_errors=True)


def save_silently(module: ServingModule, path: Path) -> None:
    """`tf.saved_model.save` without its log lines, even if it fails."""
    failure: Exception | None = None
    with quiet.muted_stderr():
        try:
            tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
        except Exception as error:  # Raised again outside, where its noise stays muted.
            failure = error
    if failure is not None:
        raise failure


def run_saved_model(path: Path, images: np.ndarray, *, batch_size: int = 128) -> np.ndarray:
    """Loads a SavedModel and returns its logits (n, num_classes) of images (n, H, W, C) uint8."""
    with quiet.muted_stderr():
        loaded = tf.saved_model.load(str(path))
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
