"""What an exported file says about itself, so that someone who has only the file can use it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

FORMAT = 1
"""Counts up when a reader of older files would misread newer ones."""


@dataclass(frozen=True)
class ModelCard:
    """How to feed a file and how to read its answer.

    Attributes:
        name: of the architecture, for example "mixer_s16".
        version: of the package that wrote the file.
        labels: class names in the order of the logits.
        image_size: side of the square that goes in, in pixels.
        channels: 3 for RGB, 1 for grey.
        crop_ratio: the part of a picture's short side that the square has, in (0, 1].
        head: which head of the student predicts.
        dataset: what it was trained on.
        top1: the fraction of `examples` test images that the Keras model gets right, before
            conversion and quantisation; None if it was not measured.
        examples: see `top1`.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    image_size: int
    channels: int
    crop_ratio: float = 1.0
    head: str = ""
    dataset: str = ""
    top1: float | None = None
    examples: int = 0

    @property
    def short_side(self) -> int:
        """Length to which a picture's short side is scaled before the square is cut."""
        return int(self.image_size / self.crop_ratio)

    def to_json(self) -> str:
        """The card as the content of `std_keras.json`; the labels are in a separate file."""
        accuracy = None
        if self.top1 is not None:
            accuracy = {"top1": self.top1, "examples": self.examples, "of": "the Keras model"}
        content = {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "input": {
                "name": "images",
                "size": self.image_size,
                "channels": self.channels,
                "range": [0, 255],
                "resize": {
                    "short_side": self.short_side,
                    "crop": "center",
                    "filter": "bicubic, a=-0.5, antialiased",
                },
                "crop_ratio": self.crop_ratio,
            },
            "output": {"name": "logits", "probabilities": "softmax", "labels": "labels.txt"},
            "head": self.head,
            "dataset": self.dataset,
            "accuracy": accuracy,
        }
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, labels: tuple[str, ...]) -> ModelCard:
        """The inverse of `to_json`.

        Raises:
            ValueError: the text is not a card, or a card of a newer format; names the field.
        """
        try:
            content = json.loads(text)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        try:
            if content["format"] != FORMAT:
                raise ValueError(
                    f"it has format {content['format']!r}; this version reads {FORMAT}"
                )
            given = content["input"]
            accuracy: dict[str, Any] = content["accuracy"] or {}
            card = cls(
                name=str(content["name"]),
                version=str(content["version"]),
                labels=labels,
                image_size=_whole(given["size"], most=1 << 14),
                channels=_whole(given["channels"], most=3),
                crop_ratio=float(given["crop_ratio"]),
                head=str(content["head"]),
                dataset=str(content["dataset"]),
                top1=float(accuracy["top1"]) if accuracy else None,
                examples=_whole(accuracy["examples"], most=1 << 40) if accuracy else 0,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"{error} is missing or of the wrong kind") from error
        if card.channels == 2 or not 0 < card.crop_ratio <= 1:
            raise ValueError(f"{card.channels} channels, crop_ratio {card.crop_ratio}")
        return card


def _whole(value: Any, *, most: int) -> int:
    if not isinstance(value, int) or not 1 <= value <= most:
        raise ValueError(f"{value!r} is not an integer from 1 to {most}")
    return value
