"""From an upright picture to the square of pixels that the student was evaluated with.

The twin of `resize_and_crop` in `std_keras/data/images.py`, with Pillow and NumPy in place of
TensorFlow.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

_STRIP = 256  # Rows that are held in float32 at a time.


def center_square(image: Image.Image, size: int, *, crop_ratio: float = 1.0) -> np.ndarray:
    """(size, size, C) uint8, C of the image's mode: bicubic with antialiasing, clipped and rounded.

    The arithmetic is that of `std_keras.data.images.resize_and_crop`: the short side is scaled to
    int(size / crop_ratio), then the centre is cut. Only what the square needs is computed, so the
    memory does not grow with the shape of the picture. What has the size already is not touched.
    """
    if image.size == (size, size):
        return _with_channels(np.asarray(image))
    short = int(size / crop_ratio)
    (left, right), (first_column, last_column) = _window(image.width, min(image.size), size, short)
    (top, bottom), (first_row, last_row) = _window(image.height, min(image.size), size, short)
    image = image.crop((first_column, first_row, last_column, last_row))
    planes = []
    for plane in image.split():
        columns = np.empty((image.height, size), np.float32)
        for row in range(0, image.height, _STRIP):
            strip = plane.crop((0, row, image.width, min(row + _STRIP, image.height))).convert("F")
            box = (left, 0, right, strip.height)
            strip = strip.resize((size, strip.height), Image.Resampling.BICUBIC, box=box)
            columns[row : row + _STRIP] = np.asarray(strip)
        scaled = Image.fromarray(columns).resize(
            (size, size), Image.Resampling.BICUBIC, box=(0, top, size, bottom)
        )
        planes.append(np.clip(np.rint(np.asarray(scaled)), 0, 255).astype(np.uint8))
    return np.stack(planes, axis=-1)


def _window(
    length: int, smaller: int, size: int, short: int
) -> tuple[tuple[float, float], tuple[int, int]]:
    """Of one axis: the part that the square shows, and the pixels that its computation reads.

    The part is counted from the first of these pixels.
    """
    scaled = length * short // smaller
    start = (scaled - size) // 2
    scale = length / scaled
    shown = (start * scale, (start + size) * scale)
    reach = 2 * max(scale, 1.0) + 1  # The cubic has a radius of two (larger) pixels.
    first = max(math.floor(shown[0] - reach), 0)
    last = min(math.ceil(shown[1] + reach), length)
    return (shown[0] - first, min(shown[1], length) - first), (first, last)


def _with_channels(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
