"""What an analysis leaves: JSON, PNG, a section of the page, pictures in TensorBoard."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from std_keras.files.paths import plain_path
from std_keras.research.studies import page
from std_keras.runs.run_directory import write_atomically

PAGE = "report.html"
TENSORBOARD = Path("tensorboard") / "analysis"


@dataclass(frozen=True)
class Result:
    """What an analysis found.

    Attributes:
        section: its part of the page.
        figures: its numbers, for `NAME.json`.
        extra: pictures that are not on the page, as files only.
    """

    section: page.Section
    figures: Mapping[str, Any]
    extra: Sequence[page.Picture] = ()

    def pictures(self) -> list[page.Picture]:
        """All pictures, in the order of the page."""
        blocks = [b for b in self.section.blocks if isinstance(b, page.Pictures)]
        return [p for block in blocks for p in block.pictures] + list(self.extra)


def write(result: Result, folder: Path) -> list[Path]:
    """Writes everything, the page last; files of an earlier run of the same analysis go.

    Returns:
        The files, the page first.

    Raises:
        InputError: if another program made the folder's page.
    """
    name = result.section.name
    refuse_foreign_page(folder)  # Before anything is written.
    for old in folder.glob(f"{name}_*.png"):
        old.unlink()
    written = [folder / f"{name}.json"]
    write_atomically(written[0], json.dumps(_plain(result.figures), indent=2) + "\n")
    for picture in result.pictures():
        file = folder / f"{name}_{picture.name}.png"
        file.write_bytes(picture.png)
        written.append(file)
    _to_tensorboard(result, folder / TENSORBOARD)
    page.write(folder / PAGE, result.section)
    return [folder / PAGE, *written]


def refuse_foreign_page(folder: Path) -> None:
    """Raises InputError if the folder's page was made by another program."""
    page.sections_of(folder / PAGE)


def _to_tensorboard(result: Result, folder: Path) -> None:
    import tensorflow as tf

    name = result.section.name
    for old in folder.glob(f"events.out.tfevents.*.{name}"):
        old.unlink()
    writer = tf.summary.create_file_writer(plain_path(folder), filename_suffix=f".{name}")
    with writer.as_default(step=0):
        for picture in result.pictures():
            image = tf.io.decode_png(picture.png, channels=3)
            tf.summary.image(f"{name}/{picture.name}", image[tf.newaxis])
    writer.close()


def _plain(value: Any) -> Any:
    """The same with numbers that JSON knows; NaN becomes null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
