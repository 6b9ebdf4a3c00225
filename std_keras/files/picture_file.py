"""What the pixels of an image file are, by Pillow; needs no TensorFlow.

Upright, as the file's EXIF orientation says; 8-bit RGB; over white where they are transparent; the
first frame of an animation. Training, evaluation, classification and the resizing of folders all
mean these. `std_keras.data.images` is TensorFlow's twin for the plain files that both read alike.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterable
from typing import IO

import numpy as np
from PIL import Image

from std_keras.errors import InputError
from std_keras.extras import imported
from std_keras.files.jpeg_end import jpeg_end
from std_keras.files.whole_file import UnreadableWholeError, check_is_file

MOST_PIXELS = 178_956_970
"""Larger pictures are refused by their header, before memory is taken for them; Pillow's limit."""

GROUND = 255
"""The grey level behind transparent pixels."""

ORIENTATION_TAG = 0x0112  # EXIF

# Pillow hands these to Ghostscript or to Windows, which interpret programs.
_REFUSED_FORMATS = frozenset({"EPS", "WMF"})
# These it recognizes, but cannot read by itself.
_UNREADABLE_FORMATS = frozenset({"BUFR", "GRIB", "HDF5", "MPEG"})
_TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_START_OF_JPEG = b"\xff\xd8"

_HEIF_ENDINGS = frozenset({".heic", ".heif"})  # As iPhones write them.


def extensions() -> frozenset[str]:
    """The endings of files that `open_picture` may be able to read, such as ".jpg"."""
    _learn_formats()
    known = Image.registered_extensions()
    return frozenset(
        ending
        for ending, name in known.items()
        if name in Image.OPEN and name not in _REFUSED_FORMATS | _UNREADABLE_FORMATS
    )


def advice(endings: Iterable[str]) -> str:
    """What to do so that files with these endings are read, after what is wrong; else nothing."""
    if not (_HEIF_ENDINGS - extensions()) & frozenset(endings):
        return ""
    try:
        imported("pillow_heif", needed_by="a HEIC file")
    except InputError as error:
        return f"; {error}"
    return ""


def open_picture(path: str | os.PathLike[str], *, channels: int = 3) -> Image.Image:
    """Reads any image that Pillow knows, upright, as RGB (3 channels) or grey (1).

    Turned as its EXIF orientation says; of an animation the first frame; 16-bit channels keep their
    upper 8 bits; palettes, CMYK and other colour spaces are converted; transparent pixels lie over
    white.

    Raises:
        InputError: the file cannot be read, is not an image, is cut off, has more than
            `MOST_PIXELS` pixels, or has values whose range nobody knows.
    """
    try:
        check_is_file(path)
        with open(path, "rb") as file:
            return _read(file, channels=channels, name=str(path))
    except (InputError, MemoryError):
        raise
    except UnreadableWholeError as error:
        raise InputError(f"{path} {error}") from error
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path} has more than {MOST_PIXELS // 10**6} million pixels, which may be a "
            "decompression bomb; make it smaller first"
        ) from error
    except Image.UnidentifiedImageError as error:
        ending = os.path.splitext(os.fspath(path))[1].lower()
        raise InputError(f"{path} is not an image that can be read{advice([ending])}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # Decoders raise many kinds for a damaged file.
        raise InputError(f"{path} is damaged: {error or type(error).__name__}") from error


def read_pixels(path: str | bytes) -> np.ndarray:
    """The pixels of a file, (H, W, 3) uint8; raises InputError as `open_picture`."""
    return np.array(open_picture(os.fsdecode(path)))


def check_whole(path: str | bytes) -> None:
    """Raises InputError for a JPEG that was cut off and then got its end marker back.

    Reads all of the file, but makes an eighth of the pixels in each direction. A JPEG of several
    scans that was cut in the last of them passes, and so do other formats.
    """
    name = os.fsdecode(path)
    with open(path, "rb") as file:
        content = file.read()
    if not content.startswith(_START_OF_JPEG):
        return
    without = _refused_if_cut(content, name=name)
    if without is content:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(without), formats=("JPEG",)) as image:
                image.draft("L", (1, 1))
                image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{name} is cut off: {error}") from error


def upright(image: Image.Image, *, channels: int = 3, name: str = "the picture") -> Image.Image:
    """An image as RGB (3 channels) or grey (1), turned as its EXIF orientation says.

    Args:
        image: any that Pillow knows.
        channels: 3 or 1.
        name: what errors call it.

    Raises:
        InputError: for values whose range nobody knows.
    """
    image.load()  # Pillow turns a TIFF upright here, and forgets the note.
    turn = _TRANSPOSED.get(exif_orientation(image.info.get("exif")))
    converted = _over_ground(_to_8_bits(image, name)).convert("RGB" if channels == 3 else "L")
    return converted if turn is None else converted.transpose(turn)


def exif_orientation(block: bytes | None) -> int:
    """The orientation, 1 to 8, of an EXIF block as files hold it; 1 if it says nothing sensible."""
    if not block:
        return 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About a damaged note.
            exif = Image.Exif()
            exif.load(block)
            orientation = int(exif.get(ORIENTATION_TAG, 1))
    except Exception:  # A damaged note does not make the pixels worse.
        return 1
    return orientation if orientation in _TRANSPOSED else 1


def _read(file: IO[bytes], *, channels: int, name: str) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # About sizes (checked here) and damaged metadata.
        source: IO[bytes] = file
        if file.read(2) == _START_OF_JPEG:
            file.seek(0)
            source = io.BytesIO(_refused_if_cut(file.read(), name=name))
        source.seek(0)
        with Image.open(source, formats=_formats()) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            return upright(image, channels=channels, name=name)


def _refused_if_cut(content: bytes, *, name: str) -> bytes:
    """A JPEG so that Pillow misses what is not there.

    Without an end marker libjpeg asks for more, and Pillow refuses; the zeros are for its decoder,
    which reads ahead. With several scans it needs the marker, and the scans are counted.

    Raises:
        InputError: if it has no end, or scans are missing.
    """
    found = jpeg_end(content)
    if found.at is None:
        raise InputError(f"{name} is cut off: it has no end marker")
    if found.lacks_detail:
        raise InputError(f"{name} is cut off: its last scans are missing")
    return content[: found.at] + bytes(16) if found.one_scan else content


def _learn_formats() -> None:
    """Makes Pillow know all formats that can be read here."""
    Image.init()
    with contextlib.suppress(Exception):  # It is missing or broken; `advice` says which.
        import pillow_heif

        pillow_heif.register_heif_opener()


def _formats() -> list[str]:
    _learn_formats()
    return [name for name in Image.ID if name not in _REFUSED_FORMATS]


def _to_8_bits(image: Image.Image, name: str) -> Image.Image:
    """An image in a mode that `convert` reduces to RGB or grey without loss of meaning."""
    if image.mode == "F":
        raise InputError(
            f"{name} has floating-point pixels of unknown range; save it with 8 or 16 bits"
        )
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise InputError(
                f"{name} has 32-bit pixels of unknown range; save it with 8 or 16 bits"
            )
        grey = Image.fromarray((values >> 8).astype(np.uint8))
        transparent = image.info.get("transparency")
        if isinstance(transparent, int):
            grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
        return grey
    if image.mode in ("RGBa", "La"):  # Colours that are multiplied by their opacity.
        return image.convert("RGBA" if image.mode == "RGBa" else "LA")
    return image


def _over_ground(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    picture = image.convert("RGBA")
    ground = Image.new("RGB", image.size, (GROUND,) * 3)
    ground.paste(picture, mask=picture.getchannel("A"))  # Rounds to the nearest.
    return ground
