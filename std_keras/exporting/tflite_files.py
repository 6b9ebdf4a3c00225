"""The TFLite files of one export: converted, checked on test images, and written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from std_keras import exporting, progress
from std_keras.data import DataSet
from std_keras.exporting import layer_sensitivity, report
from std_keras.exporting.classifying.card import ModelCard
from std_keras.exporting.classifying.self_description import describe
from std_keras.exporting.quantize import needs_images
from std_keras.exporting.report import FileReport
from std_keras.exporting.sample import different_images, sample
from std_keras.runs.run_directory import replace_atomically

_REPRESENTATIVE_IMAGES = 200
# Different images; below it int8 and int4 lose by it (the page on export has the measurement).
_ENOUGH_IMAGES = 50
_SENSITIVITY_IMAGES = 100


@dataclass(frozen=True)
class Checked:
    """A model that is exported, and what each file is compared with.

    Attributes:
        model: as `inference_model` returns it.
        card: what the files say about themselves.
        images: (n, H, W, C) uint8, of the test split.
        labels: (n,).
        reference: logits of the Keras model, (n, num_classes).
    """

    model: keras.Model
    card: ModelCard
    images: np.ndarray
    labels: np.ndarray
    reference: np.ndarray


class TFLiteFiles:
    """Writes the files of one model one after the other.

    Args:
        checked: the model, and what its files are compared with.
        folder: where they go.
        dataset: its training images calibrate int8 and int4.
        input_type: "uint8" or "float32".
        max_accuracy_drop: see `std_keras.export`.
        stop: asked between images and layers.
    """

    def __init__(
        self,
        checked: Checked,
        *,
        folder: Path,
        dataset: DataSet,
        input_type: str,
        max_accuracy_drop: float | None,
        stop: Callable[[], bool],
    ) -> None:
        self._checked, self._folder, self._dataset = checked, folder, dataset
        self._input_type, self._limit, self._stop = input_type, max_accuracy_drop, stop
        self._float32: bytes | None = None  # The others are quantised from it.
        self._representative: np.ndarray | None = None

    def write(self, quantization: str, *, interrupt: Callable[[], None]) -> FileReport:
        """Makes one file, under the name of its verdict.

        Args:
            quantization: see `std_keras.export`.
            interrupt: called between conversion and check; raises Interrupted if it is time.

        Raises:
            Interrupted: because of `stop` or `interrupt`.
        """
        content = describe(self._convert(quantization), self._checked.card)
        interrupt()
        name = f"student_{quantization}.tflite"
        row = self._judge(name, content)
        if row.refused and quantization != "float32":
            row = dataclasses.replace(row, layer_errors=self._layer_errors(row, quantization))
        _write_file(self._folder / name, content, name=row.file)
        return row

    def _convert(self, quantization: str) -> bytes:
        model, input_type = self._checked.model, self._input_type
        if needs_images(quantization) and self._representative is None:
            what = "decoding representative images"
            self._representative, _ = sample(
                self._dataset.train,
                _REPRESENTATIVE_IMAGES,
                progress=progress.stoppable(self._stop),
                what=what,
            )
            different = different_images(self._representative)
            if different < _ENOUGH_IMAGES:
                progress.warn(
                    f"{quantization} is measured on {different} different training images that "
                    f"show more than one colour; with fewer than {_ENOUGH_IMAGES} its logits are "
                    "up to 2.5 times as inexact as with 200, so compare its file with the "
                    "dynamic one"
                )
        if self._float32 is None:
            self._float32 = exporting.convert(model, quantization="float32", input_type=input_type)
        if quantization == "float32":
            return self._float32
        return exporting.convert(
            model,
            quantization=quantization,
            input_type=input_type,
            representative_images=self._representative if needs_images(quantization) else None,
            float32_content=self._float32,
        )

    def _judge(self, name: str, content: bytes) -> FileReport:
        images = self._checked.images
        found = exporting.run_file(
            content, images=images, name=name, stop=self._stop, progress=progress.track
        )
        return report.judge(
            name,
            content,
            logits=found.logits,
            latency_ms=found.latency_ms,
            input_type=self._input_type,
            reference=self._checked.reference,
            labels=self._checked.labels,
            max_accuracy_drop=self._limit,
            latency_ms_2_threads=exporting.time_file(content, image=images[0], num_threads=2),
            cold_start_ms=exporting.cold_start_ms(content),
            xnnpack_partitions=exporting.xnnpack_partitions(content),
        )

    def _layer_errors(
        self, row: FileReport, quantization: str
    ) -> tuple[layer_sensitivity.LayerError, ...]:
        assert self._float32 is not None
        progress.say(f"{row.file}: measuring the sensitivity of its layers")
        # Spread over all: those of a folder are sorted by class.
        images, labels = self._checked.images, self._checked.labels
        some = np.linspace(0, len(images) - 1, min(_SENSITIVITY_IMAGES, len(images))).astype(int)
        return layer_sensitivity.layer_errors(
            self._float32,
            quantization=quantization,
            images=images[some],
            labels=labels[some],
            representative_images=self._representative,
            stop=self._stop,
            progress=progress.track,
        )


def _write_file(path: Path, content: bytes, *, name: str) -> None:
    """Writes a TFLite file under the name of its verdict; removes what an earlier export left.

    Args:
        path: of the file if it is accepted.
        content: what is in it.
        name: what it is called, `path.name` or that of a rejected file.
    """
    replace_atomically(path.with_name(name), lambda part: part.write_bytes(content))
    for former in (path, path.with_suffix(".rejected.tflite")):
        if former.name != name:
            former.unlink(missing_ok=True)
