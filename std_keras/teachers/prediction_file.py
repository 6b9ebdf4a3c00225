"""Files of teacher predictions: the bytes of a record, writing at once or not at all, and reading.

A file holds the predictions of one teacher for a few steps, as a TFRecord file of one record per
step; TensorFlow checks a CRC of every record that it reads. A record is

    8 bytes   whose predictions of which stream they are
    8 bytes   the step of the stream, int64
    then the predictions of the step's global batch, field after field, each (B, ...) in C order

with all numbers little-endian.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from std_keras.errors import InputError, MachineError, reason_of
from std_keras.files.paths import plain_path
from std_keras.teachers.predictions import (
    CLASS,
    CONFIDENCE,
    LOGITS,
    REST,
    TOP_CLASSES,
    PredictionFormat,
)

_HEADER = 16
_FRAME = 16  # What TFRecord adds: a length and two CRCs.


@dataclass(frozen=True)
class Field:
    """One number, or a row of them, per view.

    Attributes:
        name: among the predictions, see `PredictionFormat.encode`.
        kept: its type in the file.
        used: its type in a batch.
        width: numbers per view; 0 for one without an axis of its own.
    """

    name: str
    kept: tf.DType
    used: tf.DType
    width: int = 0

    def bytes(self, views: int) -> int:
        """How many it takes in the record of a step of so many views."""
        return views * max(1, self.width) * self.kept.size


@dataclass(frozen=True)
class Part:
    """The fields that share a file. Logits have a file beside the classes, which hard distillation
    can use alone.

    Attributes:
        suffix: of its files.
        fields: in their order.
    """

    suffix: str
    fields: tuple[Field, ...]

    def record_bytes(self, views: int) -> int:
        """Bytes of one record: of the predictions for a step of so many views, header included."""
        return _HEADER + sum(field.bytes(views) for field in self.fields)

    def file_bytes(self, views: int, steps: int) -> int:
        """Bytes on the disk of a file of so many records, TFRecord's own included."""
        return steps * (self.record_bytes(views) + _FRAME)

    def pack(self, predictions: Mapping[str, np.ndarray], *, key: bytes, position: int) -> bytes:
        """A record from one teacher's predictions (B, ...) of one step."""
        content = [key, position.to_bytes(8, "little")]
        for field in self.fields:
            kept = predictions[field.name].astype(field.kept.as_numpy_dtype)
            content.append(kept.astype(kept.dtype.newbyteorder("<")).tobytes())
        return b"".join(content)

    def unpack(
        self, record: tf.Tensor, *, key: bytes, position: tf.Tensor, views: int
    ) -> dict[str, tf.Tensor]:
        """A record to predictions (B, ...); tf.errors.InvalidArgumentError for another."""
        size = self.record_bytes(views)
        owner = tf.strings.substr(record, 0, 8)
        place = tf.io.decode_raw(tf.strings.substr(record, 8, 8), tf.int64)
        right = tf.equal(tf.strings.length(record), size) & tf.equal(owner, key)
        right &= tf.reduce_all(tf.equal(place, position))
        predictions, begin = {}, _HEADER
        with tf.control_dependencies(
            [tf.debugging.Assert(right, ["a record of other predictions"])]
        ):
            record = tf.identity(record)
        for field in self.fields:
            raw = tf.strings.substr(record, begin, field.bytes(views))
            shape = (views, field.width) if field.width else (views,)
            values = tf.reshape(tf.io.decode_raw(raw, field.kept), shape)
            predictions[field.name] = tf.cast(values, field.used)
            begin += field.bytes(views)
        return predictions


def parts_of(form: PredictionFormat) -> tuple[Part, ...]:
    """The files that predictions of a format are kept in."""
    number = tf.uint16 if form.num_classes <= 2**16 else tf.int32
    hard = Part(
        "labels",
        (Field(CLASS, number, tf.int64), Field(CONFIDENCE, tf.float32, tf.float32)),
    )
    if not form.soft:
        return (hard,)
    if not form.top_k:
        return hard, Part("logits", (Field(LOGITS, tf.float16, tf.float16, form.num_classes),))
    top = Part(
        f"logits_top{form.top_k}",
        (
            Field(LOGITS, tf.float16, tf.float16, form.top_k),
            Field(TOP_CLASSES, number, tf.int32, form.top_k),
            Field(REST, tf.float16, tf.float16),
        ),
    )
    return hard, top


def write(path: Path, records: Sequence[bytes]) -> None:
    """Writes a file atomically, also if other processes write it at the same time.

    Raises:
        MachineError: if it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(plain_path(draft)) as file:
            for record in records:
                file.write(record)
        with open(draft, "rb") as written:
            os.fsync(written.fileno())
        os.replace(draft, path)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or reason_of(error)
        raise MachineError(
            f"the teacher predictions {path} could not be written: {reason}; predictions written "
            "before are kept"
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def read(path: Path, *, part: Part, key: bytes, first: int, views: int) -> list[bytes]:
    """The records of a file whose first one belongs to step `first`.

    Raises:
        InputError: if it is damaged, or holds other predictions.
    """
    try:
        records = list(tf.data.TFRecordDataset(plain_path(path)).as_numpy_iterator())
    except tf.errors.OpError as error:
        raise InputError(damaged(path, reason_of(error))) from error
    size = part.record_bytes(views)
    for position, record in enumerate(records, first):
        if len(record) != size or record[:_HEADER] != key + position.to_bytes(8, "little"):
            raise InputError(damaged(path, f"the record of step {position} is missing"))
    return records


def damaged(path: Path, why: str) -> str:
    """The message about a file that is not as it was written."""
    return f"{path} is damaged or holds other predictions ({why}); remove it, and it is made again"
