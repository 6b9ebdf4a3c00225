"""A folder of teacher predictions: one subfolder per stream of views, in it one per teacher.

    DIR/STREAM/stream.json                             what shapes the pixels of the stream
    DIR/STREAM/TEACHER/teacher.json                    what shapes the teacher's predictions
    DIR/STREAM/TEACHER/epoch_00003/chunk_00002.labels  see `prediction_file`

STREAM and TEACHER are hashes of what their JSON files hold. A *position* is a step of the stream,
counted from 0. A chunk is a few steps of one epoch; it is there as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from std_keras.errors import InputError
from std_keras.files.output_folder import check_output_dir
from std_keras.files.paths import plain_path, user_path
from std_keras.teachers import prediction_file
from std_keras.teachers.prediction_file import Part, parts_of
from std_keras.teachers.predictions import PredictionFormat

_VIEWS_PER_CHUNK = 8192
_SAME_PICTURE = 1.0  # Mean pixel level; two machines differ by rounding, two pictures by far more.

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Chunk:
    """Steps [first, first + steps) of the stream, `number` in their epoch."""

    epoch: int
    number: int
    first: int
    steps: int


@dataclass(frozen=True)
class Grid:
    """How a stream is cut into chunks.

    Attributes:
        batch_size: views of a step, over all devices.
        steps_per_epoch: of the stream.
    """

    batch_size: int
    steps_per_epoch: int

    def chunk(self, position: int) -> Chunk:
        """The chunk of a position."""
        size = max(1, _VIEWS_PER_CHUNK // self.batch_size)
        epoch, step = divmod(position, self.steps_per_epoch)
        number = step // size
        first = epoch * self.steps_per_epoch + number * size
        return Chunk(epoch, number, first, min(size, self.steps_per_epoch - number * size))

    def chunks(self, begin: int, end: int) -> Iterable[Chunk]:
        """The chunks that hold the positions from `begin` to before `end`."""
        while begin < end:
            chunk = self.chunk(begin)
            yield chunk
            begin = chunk.first + chunk.steps


@dataclass(frozen=True)
class PredictionFile:
    """The file of one chunk, teacher and part; `path` need not be there."""

    path: Path
    part: Part
    key: bytes
    chunk: Chunk
    teacher: int

    @property
    def begun(self) -> Path:
        """Where the first steps of an unfinished chunk are."""
        return self.path.with_name(f"{self.path.name}-begun")


class PredictionCache:
    """Predictions of several teachers for one stream of views.

    Args:
        directory: the folder; need not exist.
        stream: what shapes the pixels, by name; JSON values.
        teachers: for each teacher, what shapes its predictions, by name.
        form: which numbers are kept.
        grid: batch and epoch of the stream.
        picture_levels: the mean pixel of each view of the stream's first step. A folder that was
            made from other pictures is refused by it.
        picture_contents: a digest of own pictures, see `folder_content.contents`; likewise.

    Raises:
        InputError: if the folder cannot be used, or was made from other data.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        stream: Facts,
        teachers: Sequence[Facts],
        form: PredictionFormat,
        grid: Grid,
        picture_levels: Sequence[float],
        picture_contents: str | None = None,
    ) -> None:
        self.directory = user_path(directory)
        self.form, self.grid, self.parts = form, grid, parts_of(form)
        self._stream, self._teachers = dict(stream), [dict(facts) for facts in teachers]
        self._levels = [round(float(level), 2) for level in picture_levels]
        self._contents = picture_contents
        self.path = self.directory / _name(self._stream)
        self._folders = [self.path / _name(facts) for facts in self._teachers]
        self._keys = [_digest([self._stream, facts])[:8] for facts in self._teachers]
        if not self.directory.is_dir():
            check_output_dir(self.directory, name="teacher_cache")
        self._check()

    @property
    def bytes_per_view(self) -> float:
        """Bytes on disk for one view, all teachers together."""
        views = self.grid.batch_size
        one = sum(part.file_bytes(views, 1) for part in self.parts)
        return len(self._teachers) * one / views

    def files(self, chunk: Chunk) -> list[PredictionFile]:
        """All files of a chunk, teacher by teacher, whether they are there or not."""
        place = f"epoch_{chunk.epoch:05d}/chunk_{chunk.number:05d}"
        return [
            PredictionFile(folder / f"{place}.{part.suffix}", part, key, chunk, index)
            for index, (folder, key) in enumerate(zip(self._folders, self._keys, strict=True))
            for part in self.parts
        ]

    def missing(self, chunk: Chunk) -> list[PredictionFile]:
        """The files of a chunk that are not there.

        Raises:
            InputError: if one that is there has the wrong size.
        """
        missing = []
        for file in self.files(chunk):
            try:
                size = file.path.stat().st_size
            except FileNotFoundError:
                missing.append(file)
                continue
            wanted = file.part.file_bytes(self.grid.batch_size, chunk.steps)
            if size != wanted:
                raise InputError(prediction_file.damaged(file.path, f"{size} bytes, not {wanted}"))
        return missing

    def check(self, chunk: Chunk) -> None:
        """Reads a chunk; raises InputError if a file is missing or damaged."""
        for file in self.files(chunk):
            if not file.path.is_file():
                raise InputError(
                    f"{file.path} is missing; run the same command again to rebuild it"
                )
            prediction_file.read(
                file.path,
                part=file.part,
                key=file.key,
                first=chunk.first,
                views=self.grid.batch_size,
            )

    def dataset(self, begin: int, end: int) -> tf.data.Dataset:
        """Labels of positions begin, ..., end - 1, which must be there, by name: (B, M, ...).

        Damage raises tf.errors.OpError from the dataset; `check` finds the file.
        """
        chunks = list(self.grid.chunks(begin, end))
        paths: list[list[str]] = [[] for _ in self.files(chunks[0])]
        for chunk in chunks:
            for own, file in zip(paths, self.files(chunk), strict=True):
                own.append(plain_path(file.path))
        skipped = begin - chunks[0].first
        records = [tf.data.TFRecordDataset(own).skip(skipped) for own in paths]
        views, count = self.grid.batch_size, len(self.parts)

        @tf.autograph.experimental.do_not_convert
        def unpack(position: tf.Tensor, *all_records: tf.Tensor) -> dict[str, tf.Tensor]:
            of_teachers = []
            for index, key in enumerate(self._keys):
                predictions: dict[str, tf.Tensor] = {}
                for part, record in zip(self.parts, all_records[index * count :], strict=False):
                    predictions |= part.unpack(record, key=key, position=position, views=views)
                of_teachers.append(predictions)
            return {n: tf.stack([own[n] for own in of_teachers], axis=1) for n in of_teachers[0]}

        positions = tf.data.Dataset.range(begin, end)
        return tf.data.Dataset.zip(positions, *records).map(unpack)

    def begin(self) -> None:
        """Makes the folders and describes in them what they hold.

        Raises:
            InputError: if the folder cannot be made.
        """
        try:
            for folder in self._folders:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"teacher_cache={self.directory} cannot be written: {error.strerror}"
            ) from error
        stream: dict[str, Any] = {"stream": self._stream, "picture_levels": self._levels}
        if self._contents is not None:
            stream["picture_contents"] = self._contents
        for path, content in (
            (self.path / "stream.json", stream),
            *zip((f / "teacher.json" for f in self._folders), self._teachers, strict=True),
        ):
            if not path.exists():
                # A name of its own: another run may do the same.
                draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
                draft.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
                os.replace(draft, path)

    def differences(self) -> str:
        """How the nearest predictions in the folder differ from those wanted; "" without any."""
        streams = {p: _read(p).get("stream", {}) for p in self.directory.glob("*/stream.json")}
        if self.path / "stream.json" not in streams:
            return _nearest(self._stream, streams.values())
        known = [_read(p) for p in self.path.glob("*/teacher.json")]
        new = [facts for facts in self._teachers if facts not in known]
        return _nearest(new[0], known) if new else ""

    def _check(self) -> None:
        path = self.path / "stream.json"
        if path.exists():
            found = _read(path)
            if found.get("stream") != self._stream:
                raise InputError(f"{path} does not describe this folder; remove {self.path}")
            levels = found.get("picture_levels", [])
            same = len(levels) == len(self._levels) and all(
                abs(a - b) < _SAME_PICTURE for a, b in zip(levels, self._levels, strict=True)
            )
            # Older folders know the levels alone.
            if not same or found.get("picture_contents", self._contents) != self._contents:
                raise InputError(
                    f"teacher_cache={self.directory}: {self.path} was made from other images of "
                    "the same number, size and classes; name another folder for these"
                )
        for folder, facts in zip(self._folders, self._teachers, strict=True):
            path = folder / "teacher.json"
            if path.exists() and _read(path) != facts:
                raise InputError(f"{path} does not describe this folder; remove {folder}")


def _nearest(wanted: Facts, known: Iterable[Facts]) -> str:
    """The fewest differences between what is wanted and what is known, in words."""
    texts = []
    for facts in known:
        names = [n for n in {**facts, **wanted} if facts.get(n) != wanted.get(n)]
        # In the files the names of options stand as flags.
        parts = [
            f"{n.removeprefix('--')}={_short(facts.get(n))} there, {_short(wanted.get(n))} here"
            for n in names
        ]
        texts.append((len(parts), "; ".join(parts)))
    return min(texts)[1] if texts else ""


def _short(value: Any) -> str:
    if value is None:
        return "(none)"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:16]}..."


def _digest(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


def _name(facts: Facts) -> str:
    return _digest(facts).hex()[:16]


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}; remove {path.parent}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} is damaged: it does not hold a JSON object; remove {path.parent}")
    return value
