"""Images whose pixels say which example they are."""

from __future__ import annotations

import numpy as np

from std_keras.data.arrays import ArraySource


def numbered_source(size: int, *, num_classes: int = 5, side: int = 4) -> ArraySource:
    """Example i has every pixel (i % 256, i // 256, 77) and label i % num_classes."""
    index = np.arange(size)
    pixels = np.stack([index % 256, index // 256, np.full(size, 77)], -1).astype(np.uint8)
    images = np.broadcast_to(pixels[:, None, None], (size, side, side, 3))
    return ArraySource(images, index % num_classes)


def numbers(images) -> list[int]:
    """Which examples these images are."""
    corner = np.asarray(images)[..., 0, 0, :].astype(int)
    return (corner[..., 0] + 256 * corner[..., 1]).ravel().tolist()
