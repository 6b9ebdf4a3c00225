"""What a classifier's file says about the images that it takes, and how one is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from std_keras.runtimes.last_operator import Ending

LAYOUTS = ("nhwc", "nchw")
_COLOURS = (1, 3)


@dataclass(frozen=True)
class ImageInput:
    """The input of a classifier, as far as its file says.

    Attributes:
        batch: images that it takes at a time; None for any number.
        shape: the three sizes of an image in their order; None for any size.
        kind: NumPy's name of its numbers, such as "float32".
        layout: nhwc (channels last) or nchw (channels first); None if the shape leaves it open.
        range: the pixels that it takes: byte, unit, signed or imagenet; None if the file is silent.
        bgr: whether blue comes first.
        scale: of an integer input: real number = scale * (integer - zero_point); 0 for none.
        zero_point: see `scale`.
    """

    batch: int | None
    shape: tuple[int | None, int | None, int | None]
    kind: str
    layout: str | None = None
    range: str | None = None
    bgr: bool = False
    scale: float = 0.0
    zero_point: int = 0

    def image_shape(self, layout: str) -> tuple[int | None, int | None, int | None]:
        """(H, W, C) of the images."""
        if layout == "nchw":
            channels, height, width = self.shape
            return height, width, channels
        return self.shape

    def encoded(self, images: np.ndarray, *, layout: str) -> np.ndarray:
        """What the file takes, from float32 images (b, H, W, C) in its own range."""
        if self.bgr:
            images = images[..., ::-1]
        if layout == "nchw":
            images = images.transpose(0, 3, 1, 2)
        kind = np.dtype(self.kind)
        if kind.kind in "iu":
            if self.scale:
                images = images / self.scale + self.zero_point
            limits = np.iinfo(kind)
            images = np.clip(np.round(images), limits.min, limits.max)
        return np.ascontiguousarray(images, dtype=kind)


class ImageFile(Protocol):
    """A classifier's file, ready to run; any number of threads may call `run` at once.

    Attributes:
        input: what it takes.
        labels: class names in the order of its outputs; None if it has none.
        ending: what its last operators say about the outputs.
    """

    input: ImageInput
    labels: tuple[str, ...] | None
    ending: Ending

    def run(self, batch: np.ndarray) -> np.ndarray:
        """The outputs (b, ...) float32 of what `ImageInput.encoded` gives.

        Raises:
            RuntimeError: if the file fails.
        """
        ...


def layout_of(shape: Sequence[int | None]) -> str | None:
    """The layout of images of this shape, if it leaves no doubt: 1 or 3 channels, more pixels."""
    first, last = shape[0] in _COLOURS, shape[2] in _COLOURS
    if first == last:
        return None
    return "nchw" if first else "nhwc"


def range_of(low: float, high: float) -> str | None:
    """The range of pixels whose smallest and largest value are these, within a hundredth."""
    for name, wanted in (("byte", (0.0, 255.0)), ("unit", (0.0, 1.0)), ("signed", (-1.0, 1.0))):
        slack = (wanted[1] - wanted[0]) / 100
        if abs(low - wanted[0]) <= slack and abs(high - wanted[1]) <= slack:
            return name
    return None
