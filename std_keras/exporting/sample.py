"""Some examples of a part of a data set, held in memory."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from std_keras.data import Source
from std_keras.data.source import Progress, no_progress

_BATCH = 256


def sample(
    source: Source, count: int, *, progress: Progress = no_progress, what: str = "decoding images"
) -> tuple[np.ndarray, np.ndarray]:
    """Takes `count` evenly spaced examples, all if 0; so a sorted split keeps its classes.

    Works for data that is streamed from disk too: only the chosen examples are decoded.

    Returns:
        Images (n, H, W, C) uint8 and labels (n,) int32.
    """
    count = min(count, source.size) or source.size
    chosen = np.arange(count) * source.size // count
    images = np.empty((count, *source.image_shape), np.uint8)
    labels = np.empty((count,), np.int32)
    batches = source.sequential(batch_size=_BATCH).take(int(chosen[-1]) // _BATCH + 1)
    total = int(chosen[-1]) // _BATCH + 1
    for i, raw in enumerate(progress(batches, total=total, what=what)):
        first, last = np.searchsorted(chosen, (i * _BATCH, (i + 1) * _BATCH))
        if first == last:
            continue
        some_images, some_labels = source.decode(tf.gather(raw, chosen[first:last] - i * _BATCH))
        images[first:last], labels[first:last] = some_images.numpy(), some_labels.numpy()
    return images, labels


def different_images(images: np.ndarray) -> int:
    """How many of the images (n, H, W, C) show something, and each something else.

    One that comes twice tells a measurement nothing new, and one of a single colour nearly nothing.
    """
    shows_something = (images != images[:, :1, :1]).any(axis=(1, 2, 3))
    return len({image.tobytes() for image in images[shows_something]})
