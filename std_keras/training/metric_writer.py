"""What a run shows while it runs: TensorBoard, and the same metrics in `metrics.jsonl`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from std_keras import progress
from std_keras.config import TrainConfig
from std_keras.errors import reason_of
from std_keras.files.paths import plain_path
from std_keras.runs.evaluation import Accuracy
from std_keras.runs.run_directory import RunDirectory, write_atomically
from std_keras.training import event_files
from std_keras.training.optimizers import is_token

Split = Literal["train", "eval"]
_PICTURES = "augmented"  # The tag of the grid of training images.
_TEXTS = ("classes", "confusions")
FINAL = "test/"  # In front of the names of the last metrics of a run.


class MetricWriter:
    """Writes the metrics, pictures and configuration of one run.

    Args:
        run: where to.
        step: steps that were done before; metrics of later steps, which a killed process may have
            left, are removed.
        enabled: False in all workers of a cluster but the chief.
        may_fail: whether metrics that cannot be written, for want of room, are given up with a
            warning.
    """

    def __init__(
        self, run: RunDirectory, *, step: int, enabled: bool = True, may_fail: bool = False
    ) -> None:
        self._enabled = enabled
        self._may_fail = may_fail
        self._profiling = False
        self._folder = run.tensorboard
        if not enabled:
            return
        _forget_after(run.metrics_file, step)
        for split in ("train", "eval"):
            event_files.forget_after(run.tensorboard / split, step, again=_is_written_again)
        self._writers = {
            split: tf.summary.create_file_writer(plain_path(run.tensorboard / split))
            for split in ("train", "eval")
        }
        self._lines = open(run.metrics_file, "a", encoding="utf-8")

    def scalars(
        self, split: Split, *, step: int, epoch: float, values: Mapping[str, float]
    ) -> None:
        """Records metrics after `step` steps."""
        if not self._enabled:
            return
        line = {"step": step, "epoch": round(epoch, 4), "split": split, **values}
        with self._given_up_if_it_may():
            self._lines.write(json.dumps(line) + "\n")
            self._lines.flush()
        with self._given_up_if_it_may():
            with self._writers[split].as_default(step=step):
                for name, value in values.items():
                    tf.summary.scalar(name, value)
            self._writers[split].flush()

    def config(self, config: TrainConfig) -> None:
        """Shows the resolved options."""
        if self._enabled:
            with self._writers["train"].as_default(step=0):
                tf.summary.text("config", f"```\n{config.to_json()}\n```")

    def images(self, images: np.ndarray, *, step: int) -> None:
        """Shows a grid of augmented training images.

        Args:
            images: (B, H, W, C) pixels of 0..255; the first 64 are shown.
            step: steps done.
        """
        if self._enabled:
            with self._writers["train"].as_default(step=step):
                tf.summary.image(_PICTURES, image_grid(images)[np.newaxis])

    def tokens(self, model: keras.Model, *, step: int) -> None:
        """Shows histograms of the token parameters, if the model has any."""
        if not self._enabled:
            return
        with self._writers["train"].as_default(step=step):
            for variable in model.trainable_variables:
                if is_token(variable):
                    tf.summary.histogram(variable.path, variable.numpy())

    def classes(self, accuracy: Accuracy, *, label_names: Sequence[str], step: int) -> None:
        """Shows the accuracy of each class, the weakest first, and what was taken for what."""
        if not self._enabled:
            return
        own = accuracy.per_class(label_names).items()
        known = [(v["accuracy"], name, v["examples"]) for name, v in own if v["examples"]]
        classes, confusions = _TEXTS
        texts = {
            classes: ["class | top-1 | images", "---|---|---"]
            + [f"{name} | {top1:.4f} | {count}" for top1, name, count in sorted(known)],
            confusions: ["class | taken for | times | share of the class", "---|---|---|---"]
            + [
                f"{pair['label']} | {pair['predicted']} | {pair['count']} | {pair['share']:.1%}"
                for pair in accuracy.confused(label_names)
            ],
        }
        with self._given_up_if_it_may(), self._writers["eval"].as_default(step=step):
            for name, lines in texts.items():
                tf.summary.text(name, "\n".join(lines))

    def start_profile(self) -> None:
        """Begins to record a trace for TensorBoard's profiler."""
        if self._enabled and not self._profiling:
            tf.profiler.experimental.start(plain_path(self._folder / "train"))
            self._profiling = True

    def stop_profile(self) -> None:
        """Ends the recording, if there is one."""
        if self._profiling:
            tf.profiler.experimental.stop()
            self._profiling = False

    def close(self) -> None:
        """Writes out what is left."""
        self.stop_profile()
        if self._enabled:
            with self._given_up_if_it_may():
                self._lines.close()
            for writer in self._writers.values():
                with self._given_up_if_it_may():
                    writer.close()

    @contextlib.contextmanager
    def _given_up_if_it_may(self) -> Iterator[None]:
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            if not self._may_fail:
                raise
            progress.warn(f"metrics could not be written: {reason_of(error)}")


def image_grid(images: np.ndarray, *, most: int = 64) -> np.ndarray:
    """Tiles images (B, H, W, C) into one picture (H', W', C), as square as possible, uint8."""
    images = np.asarray(images[:most]).clip(0, 255).astype(np.uint8)
    count, height, width, channels = images.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    padded = np.zeros((rows * columns, height, width, channels), np.uint8)
    padded[:count] = images
    grid = padded.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, channels)


def _is_written_again(name: str) -> bool:
    """Whether a process that goes on writes it at its first step, or the run at its end."""
    return name == _PICTURES or name in _TEXTS or name.startswith(FINAL)


def _forget_after(file: Path, step: int) -> None:
    if not file.exists():
        return
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
            if values["step"] <= step and not any(map(_is_written_again, values)):
                kept.append(line)
        except (json.JSONDecodeError, KeyError, TypeError):
            continue  # The half line of a killed process.
    write_atomically(file, "".join(f"{line}\n" for line in kept))
