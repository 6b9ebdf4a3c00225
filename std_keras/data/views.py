"""The views of a batch: the same part of each picture, at the student's size and at larger ones."""

from __future__ import annotations

IMAGES = "images"


def view_name(size: int, *, image_size: int) -> str:
    """How the view of a size is called among the tensors of a batch.

    Args:
        size: its side in pixels.
        image_size: side of the images that the student sees, which are called "images".
    """
    return IMAGES if size == image_size else f"{IMAGES}_{size}"
