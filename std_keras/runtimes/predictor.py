"""Runs a classifier's file over batches, on threads of its own."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from std_keras.errors import InputError, reason_of
from std_keras.runtimes.image_file import ImageFile
from std_keras.runtimes.onnx_file import OnnxFile
from std_keras.runtimes.tflite_file import TfliteFile

KINDS = {".onnx": "onnx", ".tflite": "tflite"}
# Images in one call. Cut the same way every time, a batch has the same bits every time.
_SLICE = 16


def open_file(path: Path, *, name: str, output: str | None = None) -> ImageFile:
    """Opens a file by its ending; raises InputError if it cannot be used."""
    if path.suffix.lower() == ".onnx":
        return OnnxFile(path, name=name, output=output)
    return TfliteFile(path, name=name)


class HostPredictor:
    """A function from images to class scores; several calls may be in flight at once.

    Args:
        file: the classifier.
        layout: nhwc or nchw.
        name: what errors call it.
        threads: how many work at a time; 0 for one per core that the process may use.
    """

    def __init__(self, file: ImageFile, *, layout: str, name: str, threads: int = 0) -> None:
        self._file, self._layout, self._name = file, layout, name
        self._threads = threads or len(os.sched_getaffinity(0))
        self._start()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The outputs (B, ...) float32 for float32 images (B, H, W, C) in the file's own range.

        Raises:
            InputError: if the file fails.
        """
        if self._process != os.getpid():  # A fork has none of its parent's threads.
            self._start()
        size = self._file.input.batch or _SLICE
        parts = [images[begin : begin + size] for begin in range(0, len(images), size)]
        try:
            return np.concatenate(list(self._pool.map(self._part, parts)))
        except RuntimeError as error:
            raise InputError(f"{self._name} fails on images: {reason_of(error)}") from error

    def _start(self) -> None:
        self._process = os.getpid()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="teacher")

    def _part(self, images: np.ndarray) -> np.ndarray:
        count, wanted = len(images), self._file.input.batch
        if wanted and count < wanted:  # It takes no less; the last image stands in.
            images = np.concatenate([images, images[-1:].repeat(wanted - count, axis=0)])
        outputs = self._file.run(self._file.input.encoded(images, layout=self._layout))
        if outputs.ndim == 0 or len(outputs) != len(images):
            raise RuntimeError(
                f"it returns an array of shape {outputs.shape} for {len(images)} images"
            )
        return outputs[:count]
