"""Images held in memory, decoded once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from std_keras.data.source import IndexedSource


class ArraySource(IndexedSource):
    """Images (n, H, W, C) uint8 and labels (n,) int32 in memory; raw entries are indices."""

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        identities: Callable[[], np.ndarray] | None = None,
    ) -> None:
        """`identities`: see `IndexedSource.identities`; of the pixels if None."""
        images, labels = np.asarray(images), np.asarray(labels)
        if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels):
            raise ValueError(
                "images must be uint8 (n, H, W, C) with one label each; got "
                f"{images.dtype} {images.shape} and {len(labels)} labels"
            )
        self.size = len(labels)
        self._identities = identities
        self.image_shape = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))
        # On a machine with an accelerator a plain constant would land there; the pipeline is host.
        with tf.device("CPU:0"):
            self._images = tf.constant(images)
            self._labels = tf.constant(labels.astype(np.int32))

    def decode(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(self._images, raw), tf.gather(self._labels, raw)

    def labels(self) -> np.ndarray:
        return np.asarray(self._labels.numpy())

    def identities(self) -> np.ndarray:
        if self._identities is not None:
            return self._identities()
        images = np.ascontiguousarray(self._images.numpy())
        return np.array([hashlib.blake2b(x, digest_size=16).digest() for x in images])

    def subset(self, rows: np.ndarray) -> ArraySource:
        known = self._identities
        return ArraySource(
            self._images.numpy()[rows],
            self._labels.numpy()[rows],
            identities=None if known is None else lambda: known()[rows],
        )
