"""Images read from their files while training; for sets that do not fit in memory."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from std_keras.data.arrays import ArraySource
from std_keras.data.decoded_images import NOT_KEPT, DecodedImages
from std_keras.data.file_identities import file_identities
from std_keras.data.header import tensorflow_turn
from std_keras.data.images import read_image, read_part, resize_and_crop, resize_part
from std_keras.data.source import BoxOf, Drawn, IndexedSource, Progress, no_progress
from std_keras.errors import InputError
from std_keras.files.picture_file import check_whole

# The bytes that must come last, within this many of a file's end (some programs append a few).
_TAIL = 64
_ENDINGS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND", b"GI": b";"}

_UNREADABLE = (tf.errors.OpError, InputError, OSError)


@functools.lru_cache(maxsize=8)
def _reader(size: int, crop_ratio: float) -> Callable[[bytes, int], tf.Tensor]:
    """Reads the square of a file with this turn: one graph for all parts of a data set."""

    def read(path: tf.Tensor, turn: tf.Tensor) -> tf.Tensor:
        return resize_and_crop(read_image(path, turn), size, crop_ratio=crop_ratio)

    signature = [tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int32)]
    return tf.function(read, input_signature=signature, autograph=False)


class FileSource(IndexedSource):
    """Image files and labels (n,); raw entries are indices, decoding gives RGB squares.

    A file that turns out to be unreadable raises tf.errors.OpError from the pipeline, which
    cannot name it; `find_corrupt` can.
    """

    def __init__(
        self,
        paths: Sequence[str],
        labels: np.ndarray,
        *,
        image_size: int,
        crop_ratio: float = 1.0,
    ) -> None:
        """`crop_ratio`: see `images.resize_and_crop`."""
        if len(paths) != len(labels):
            raise ValueError(f"{len(paths)} paths but {len(labels)} labels")
        self.size = len(paths)
        self.image_shape = (image_size, image_size, 3)
        self._crop_ratio = crop_ratio
        self._paths = np.asarray(paths, dtype=object)
        self._labels = np.asarray(labels, np.int32)
        # Captured by the pipeline's functions; as constants inside them they would swell the graph.
        with tf.device("CPU:0"):
            self._path_tensor = tf.constant([os.fsencode(p) for p in self._paths], tf.string)
            self._label_tensor = tf.constant(self._labels)
        self._turn_tensor: tf.Tensor | None = None
        self._read = _reader(image_size, crop_ratio)

    def _rows(self, raw: tf.Tensor) -> dict[str, tf.Tensor]:
        """What reading the examples of indices (b,) needs, each with leading axis b."""
        if self._turn_tensor is None:
            # Once, when the pipeline is made: a look at every file.
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                turns = list(pool.map(tensorflow_turn, self._paths))
            with tf.init_scope(), tf.device("CPU:0"):
                self._turn_tensor = tf.constant(turns, tf.int32)
        return {
            "path": tf.gather(self._path_tensor, raw),
            "turn": tf.gather(self._turn_tensor, raw),
        }

    def _read_file(self, path: str) -> np.ndarray:
        """The square of one file; raises one of `_UNREADABLE` if it has none."""
        check_whole(path)
        return self._read(os.fsencode(path), tensorflow_turn(path)).numpy()

    def decode(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        (images,), labels = self.decode_views(raw, (self.image_shape[0],))
        return images, labels

    def decode_views(
        self,
        raw: tf.Tensor,
        sizes: Sequence[int],
        *,
        box: BoxOf | None = None,
        drawn: Drawn | None = None,
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        def one(row: Drawn) -> list[tf.Tensor]:
            path, turn = row.pop("path"), row.pop("turn")
            if box is None:
                image = read_image(path, turn)
                return [resize_and_crop(image, s, crop_ratio=self._crop_ratio) for s in sizes]
            part = read_part(path, turn, lambda h, w: box(h, w, row))
            return [resize_part(part, size) for size in sizes]

        images = tf.map_fn(
            one,
            {**self._rows(raw), **(drawn or {})},
            fn_output_signature=[tf.TensorSpec((s, s, 3), tf.uint8) for s in sizes],
        )
        return images, tf.gather(self._label_tensor, raw)

    def subset(self, rows: np.ndarray) -> FileSource:
        return FileSource(
            self._paths[rows].tolist(),
            self._labels[rows],
            image_size=self.image_shape[0],
            crop_ratio=self._crop_ratio,
        )

    def with_crop_ratio(self, ratio: float) -> FileSource:
        return FileSource(
            self._paths.tolist(), self._labels, image_size=self.image_shape[0], crop_ratio=ratio
        )

    def labels(self) -> np.ndarray:
        return self._labels

    def identities(self) -> np.ndarray:
        return file_identities(self._paths)

    def without(self, paths: Sequence[str]) -> FileSource:
        """All examples but those of the given files."""
        return self.subset(np.flatnonzero(~np.isin(self._paths, list(paths)))) if paths else self

    def read_all(
        self,
        *,
        kept_images: DecodedImages = NOT_KEPT,
        progress: Progress = no_progress,
        what: str = "reading images",
    ) -> tuple[ArraySource, list[str]]:
        """Decodes every file once, in parallel: (the readable ones, paths of the others)."""

        def decoded() -> dict[str, np.ndarray]:
            images = np.empty((self.size, *self.image_shape), np.uint8)
            readable = np.zeros((self.size,), bool)

            def read(row: int) -> None:
                try:
                    images[row] = self._read_file(self._paths[row])
                    readable[row] = True
                except _UNREADABLE:
                    pass

            with (
                ThreadPoolExecutor(os.cpu_count()) as pool,
                contextlib.closing(pool.map(read, range(self.size))) as done,  # type: ignore[type-var]
            ):
                for _ in progress(done, total=self.size, what=what):
                    pass
            return {"images": images, "readable": readable}

        arrays = self._kept("images", decoded, kept_images)
        images, readable = arrays["images"], arrays["readable"]
        corrupt = self._paths[~readable].tolist()
        if corrupt:
            images = images[readable]
        kept = self.subset(np.flatnonzero(readable))
        return ArraySource(
            images, kept.labels(), identities=kept.identities, pictures=lambda: kept
        ), corrupt

    def find_corrupt(
        self,
        *,
        thorough: bool = False,
        kept_images: DecodedImages = NOT_KEPT,
        progress: Progress = no_progress,
        what: str = "checking images",
    ) -> list[str]:
        """Paths of the files that cannot be decoded.

        A quick check reads the first and last bytes of each file, which finds empty, foreign and
        cut-off files, and decodes only the doubtful ones; a thorough one decodes all, and finds
        what is missing before a JPEG's end marker. What that found is kept in `kept_images`.
        """

        def is_corrupt(path: str) -> bool:
            if not thorough and _looks_whole(path):
                return False
            try:
                self._read_file(path)
                return False
            except _UNREADABLE:
                return True

        def looked_at() -> dict[str, np.ndarray]:
            with (
                ThreadPoolExecutor(os.cpu_count()) as pool,
                contextlib.closing(pool.map(is_corrupt, self._paths)) as verdicts,  # type: ignore[type-var]
            ):
                checked = list(progress(verdicts, total=self.size, what=what))
            return {"corrupt": np.asarray(checked, bool)}

        found = self._kept("corrupt", looked_at, kept_images) if thorough else looked_at()
        return self._paths[found["corrupt"]].tolist()

    def _kept(
        self, what: str, make: Callable[[], dict[str, np.ndarray]], kept_images: DecodedImages
    ) -> dict[str, np.ndarray]:
        """What `make` finds in the files, or found before."""
        return kept_images.get(
            make,
            files=self._paths.tolist(),
            pixels=self.size * math.prod(self.image_shape),
            asked={"what": what, "shape": list(self.image_shape), "crop": self._crop_ratio},
        )


def _looks_whole(path: str) -> bool:
    """Whether a file begins and ends as its format asks; False is a doubt, not a verdict."""
    try:
        with open(path, "rb") as file:
            head = file.read(8)
            size = file.seek(0, 2)
            if head[:2] == b"BM":
                return int.from_bytes(head[2:6], "little") == size
            if head[:4] == b"RIFF":  # WebP
                return int.from_bytes(head[4:8], "little") + 8 <= size
            ending = _ENDINGS.get(head[:2])
            file.seek(max(0, size - _TAIL))
            return ending is not None and ending in file.read()
    except OSError:
        return False
