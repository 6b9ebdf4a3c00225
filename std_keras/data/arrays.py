"""Images held in memory, decoded once."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from std_keras.data.source import BoxOf, Drawn, IndexedSource, Progress, no_progress


class ArraySource(IndexedSource):
    """Images (n, H, W, C) uint8 and labels (n,) int32 in memory; raw entries are indices."""

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        identities: Callable[[], np.ndarray] | None = None,
        pictures: Callable[[], IndexedSource] | None = None,
    ) -> None:
        """Holds what it is given.

        Args:
            images: see above.
            labels: see above.
            identities: see `IndexedSource.identities`; of the pixels if None.
            pictures: the same examples with their whole pictures, if these have another size than
                the images; asked for when another size or square of them is needed.
        """
        images, labels = np.asarray(images), np.asarray(labels)
        if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels):
            raise ValueError(
                "images must be uint8 (n, H, W, C) with one label each; got "
                f"{images.dtype} {images.shape} and {len(labels)} labels"
            )
        self.size = len(labels)
        self._identities, self._pictures = identities, pictures
        self._opened: IndexedSource | None = None
        self._larger: dict[int, tf.Tensor] = {}
        self.image_shape = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))
        # On a machine with an accelerator a plain constant would land there; the pipeline is host.
        with tf.device("CPU:0"):
            self._images = tf.constant(images)
            self._labels = tf.constant(labels.astype(np.int32))

    @property
    def bytes(self) -> int:
        """Of all images that are held."""
        held = [self._images, *self._larger.values()]
        return sum(math.prod(images.shape) for images in held)

    def decode(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(self._images, raw), tf.gather(self._labels, raw)

    def decode_views(
        self,
        raw: tf.Tensor,
        sizes: Sequence[int],
        *,
        box: BoxOf | None = None,
        drawn: Drawn | None = None,
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        own = self.image_shape[0]
        larger = [size for size in sizes if size != own]
        if not larger or self._pictures is None or box is not None:
            return super().decode_views(raw, sizes, box=box, drawn=drawn)
        images, labels = self.decode(raw)
        views = {own: images, **{s: tf.gather(x, raw) for s, x in self._larger.items()}}
        read = [size for size in larger if size not in views]
        if read:
            views |= zip(read, self._open().decode_views(raw, read)[0], strict=True)
        return [views[size] for size in sizes], labels

    def hold(self, sizes: Sequence[int], *, progress: Progress = no_progress) -> None:
        """Decodes the pictures at larger sizes, once; `decode_views` would do it every time."""
        sizes = [size for size in sizes if size not in {self.image_shape[0], *self._larger}]
        if not sizes or self._pictures is None:
            return
        arrays = self._open().take_views(sizes, progress=progress, what="reading larger images")
        with tf.device("CPU:0"):
            self._larger |= {s: tf.constant(x) for s, x in zip(sizes, arrays, strict=True)}

    def with_crop_ratio(self, ratio: float) -> ArraySource:
        if self._pictures is None:
            return self
        pictures = self._open().with_crop_ratio(ratio)
        assert isinstance(pictures, IndexedSource)
        images, labels = pictures.take()
        return ArraySource(images, labels, identities=self._identities, pictures=lambda: pictures)

    def _open(self) -> IndexedSource:
        assert self._pictures is not None
        if self._opened is None:
            with tf.init_scope():  # A pipeline may be in the making.
                self._opened = self._pictures()
        return self._opened

    def labels(self) -> np.ndarray:
        return np.asarray(self._labels.numpy())

    def identities(self) -> np.ndarray:
        if self._identities is not None:
            return self._identities()
        images = np.ascontiguousarray(self._images.numpy())
        return np.array([hashlib.blake2b(x, digest_size=16).digest() for x in images])

    def subset(self, rows: np.ndarray) -> ArraySource:
        known, pictures = self._identities, self._pictures
        return ArraySource(
            self._images.numpy()[rows],
            self._labels.numpy()[rows],
            identities=None if known is None else lambda: known()[rows],
            pictures=None if pictures is None else lambda: pictures().subset(rows),
        )
