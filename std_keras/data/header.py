"""A look at an image file's structure: can TensorFlow decode it, and how must it be turned?"""

from __future__ import annotations

from typing import IO

from std_keras.files.picture_file import exif_orientation

_EXIF = b"Exif\0\0"
_NO_FRAMES = frozenset({0xC4, 0xC8, 0xCC})  # Between the markers of a JPEG's frame.


def tensorflow_turn(path: str) -> int:
    """The EXIF orientation, 1 to 8, of a file that TensorFlow decodes to the pixels of Pillow.

    These are JPEGs, but for CMYK without Adobe's marker, and PNGs without transparency. 0 stands
    for every other file, also for one that cannot be read: `files.picture_file` is to decide.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(8)
            if start[:2] == b"\xff\xd8":
                file.seek(2)
                return _jpeg(file)
            return _png(file) if start == b"\x89PNG\r\n\x1a\n" else 0
    except OSError:
        return 0


def _jpeg(file: IO[bytes]) -> int:
    exif = b""
    components, adobe = 0, False
    while True:
        marker = file.read(2)
        if len(marker) < 2 or marker[0] != 0xFF:
            return 0
        kind = marker[1]
        if kind == 0xFF:  # A byte that fills.
            file.seek(-1, 1)
            continue
        if kind == 0xDA:  # Here the pixels begin.
            break
        length = int.from_bytes(file.read(2), "big") - 2
        if length < 0:
            return 0
        if kind == 0xE1:
            content = file.read(length)
            if content.startswith(_EXIF):  # A long block is parted.
                exif += content[len(_EXIF) :]
            continue
        content = file.read(min(length, 6))
        if 0xC0 <= kind <= 0xCF and kind not in _NO_FRAMES:
            components = content[5] if len(content) == 6 else 0
        adobe |= kind == 0xEE and content.startswith(b"Adobe")
        file.seek(length - len(content), 1)
    plain = components in (1, 3) or (components == 4 and adobe)
    return exif_orientation(exif) if plain else 0


def _png(file: IO[bytes]) -> int:
    turn = 1
    while True:
        head = file.read(8)
        kind, length = head[4:], int.from_bytes(head[:4], "big")
        if kind == b"IHDR":
            content = file.read(length)
            if len(content) < 13 or content[9] in (4, 6):  # With an alpha channel.
                return 0
            file.seek(4, 1)
        elif kind == b"eXIf":
            turn = exif_orientation(file.read(length))
            file.seek(4, 1)
        elif kind in (b"tRNS", b"acTL"):  # Transparent colours; an animation.
            return 0
        elif len(head) < 8 or kind == b"IEND":
            return turn
        else:
            file.seek(length + 4, 1)
