"""From any image file to the square of pixels that the student was evaluated with.

The twin of `std_keras/data/images.py`, with Pillow and NumPy in place of TensorFlow.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from std_keras.errors import InputError

MOST_PIXELS = 178_956_970
"""Larger images are rejected by their header, before memory is allocated; Pillow's limit."""

# Pillow hands these to Ghostscript or to Windows, which interpret programs.
_REFUSED_FORMATS = frozenset({"EPS", "WMF"})
_ORIENTATION = 0x0112  # EXIF tag
_TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_STRIP = 256  # Rows that are held in float32 at a time.


def extensions() -> frozenset[str]:
    """The endings of files that `open_picture` may be able to read, such as ".jpg"."""
    Image.init()
    known = Image.registered_extensions()
    return frozenset(
        ending
        for ending, name in known.items()
        if name in Image.OPEN and name not in _REFUSED_FORMATS
    )


def open_picture(path: str | Path, *, channels: int = 3) -> Image.Image:
    """Reads any image that Pillow supports, upright, as RGB (3 channels) or grey (1).

    Turned as its EXIF orientation says; of an animation the first frame; 16-bit channels keep their
    upper 8 bits; palettes, CMYK and other colour spaces are converted; transparency is dropped, as
    in training.

    Raises:
        InputError: the file cannot be read, is not an image, is truncated, has more than
            `MOST_PIXELS` pixels, or has values of unknown range.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About sizes (checked here) and damaged metadata.
            with Image.open(path, formats=_formats()) as file:
                if file.width * file.height > MOST_PIXELS:
                    raise Image.DecompressionBombError
                file.load()
                return upright(file, channels=channels, name=str(path))
    except (InputError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path} has more than {MOST_PIXELS // 10**6} million pixels, which may be a "
            "decompression bomb; make it smaller first"
        ) from error
    except Image.UnidentifiedImageError as error:
        raise InputError(f"{path} is not an image that can be read") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # Decoders raise many kinds for a damaged file.
        raise InputError(f"{path} is damaged: {error or type(error).__name__}") from error


def upright(image: Image.Image, *, channels: int = 3, name: str = "the picture") -> Image.Image:
    """An image as RGB (3 channels) or grey (1), turned as its EXIF orientation says.

    Args:
        image: any that Pillow supports.
        channels: 3 or 1.
        name: what errors call it.

    Raises:
        InputError: for values of unknown range.
    """
    turn = _TRANSPOSED.get(_orientation(image))
    converted = _to_8_bits(image, name).convert("RGB" if channels == 3 else "L")
    return converted if turn is None else converted.transpose(turn)


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


def _formats() -> list[str]:
    Image.init()
    return [name for name in Image.ID if name not in _REFUSED_FORMATS]


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # A damaged note does not make the pixels worse.
        return 1


def _to_8_bits(image: Image.Image, path: str | Path) -> Image.Image:
    """An image in a mode that `convert` reduces to RGB or grey without loss of meaning."""
    if image.mode == "F":
        raise InputError(
            f"{path} has floating-point pixels of unknown range; save it with 8 or 16 bits"
        )
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise InputError(
                f"{path} has 32-bit pixels of unknown range; save it with 8 or 16 bits"
            )
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode in ("RGBa", "La"):  # Colours that are multiplied by their opacity.
        return image.convert("RGBA" if image.mode == "RGBa" else "LA")
    return image


def _with_channels(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
