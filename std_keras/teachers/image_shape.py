"""The shape of a teacher's input images."""

from __future__ import annotations

from std_keras.errors import InputError
from std_keras.teachers.spec import TeacherSpec

_LARGEST_SIDE = 4096  # A batch of three of them has 600 MB.


def image_shape_of(
    spec: TeacherSpec, own: tuple[int | None, ...], images: tuple[int, int, int]
) -> tuple[int, int, int]:
    """The network's input shape: fixed by the network, else by `size`, else the student's.

    Args:
        spec: what the user wrote.
        own: (H, W, C) of the network's input; None for what is open.
        images: (H, W, C) of the student's.

    Raises:
        InputError: for images of more than 4,096 pixels a side, or if `size` contradicts the
            network, or its channels the data set.
    """
    height, width, channels = own
    largest = max(height or 0, width or 0)
    if largest > _LARGEST_SIDE:
        raise InputError(
            f"{spec.flag}={spec.name} takes images of {largest:,} pixels a side, more than "
            f"{_LARGEST_SIDE:,}"
        )
    if spec.size is not None and height is not None and spec.size != height:
        raise InputError(
            f"{spec.flag}={spec.name},size={spec.size}: its input is fixed at {height}x{width} "
            "pixels; leave size out"
        )
    if channels is not None and channels != images[2] and (images[2], channels) != (1, 3):
        raise InputError(
            f"{spec.flag}={spec.name} takes images of {channels} channel(s), the data set's have "
            f"{images[2]}"
        )
    return (
        height or spec.size or images[0],
        width or spec.size or images[1],
        channels or images[2],
    )
