"""TensorBoard's files of a run that continues: steps that will be repeated are taken out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf

from std_keras.files.paths import plain_path
from std_keras.runs.run_directory import replace_atomically


def forget_after(folder: Path, step: int, *, again: Callable[[str], bool]) -> None:
    """Removes what a killed process wrote after the checkpoint from which the run continues.

    Otherwise TensorBoard would draw these steps twice, as a zigzag.

    Args:
        folder: of one writer; need not exist.
        step: of the checkpoint; later steps are removed, and everything if it is 0.
        again: whether what has a tag will be written again at `step` itself.
    """
    for file in sorted(folder.glob("events.out.tfevents.*")):
        if step == 0:
            file.unlink()
            continue
        records = list(_records(file))
        kept = [record for record in records if _stays(record, step, again)]
        if len(kept) < len(records):
            replace_atomically(file, lambda part, kept=kept: _write(part, kept))


def _stays(record: bytes, step: int, again: Callable[[str], bool]) -> bool:
    event = tf.compat.v1.Event.FromString(record)
    written_again = any(again(value.tag) for value in event.summary.value)
    return event.step < step or (event.step == step and not written_again)


def _records(file: Path) -> Iterator[bytes]:
    """The records that are whole; a killed process may have left part of one at the end."""
    try:
        for record in tf.data.TFRecordDataset(plain_path(file)):
            yield record.numpy()
    except tf.errors.DataLossError:
        return


def _write(file: Path, records: list[bytes]) -> None:
    with tf.io.TFRecordWriter(plain_path(file)) as writer:
        for record in records:
            writer.write(record)
