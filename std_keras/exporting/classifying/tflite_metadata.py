"""The part of a model card that the TFLite metadata standard has words for.

Android Studio, ML Kit and MediaPipe read it. The numbers of the fields are their positions in
`metadata_schema.fbs`, in TensorFlow's and MediaPipe's code. It is written without their writers
because none can be installed beside TensorFlow 2.21: tflite-support wants protobuf below 4, and
MediaPipe's (1.2.2) imports a module that its package lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import flatbuffers
from flatbuffers import number_types

from std_keras.exporting.classifying.card import ModelCard

_IDENTIFIER = b"M001"


@dataclass(frozen=True)
class _Int8:
    """An enum, or the member of a union that the next field holds."""

    value: int


@dataclass(frozen=True)
class _Int32:
    value: int


@dataclass(frozen=True)
class _Table:
    """Values by the number of their field."""

    fields: Mapping[int, _Value]


_Value: TypeAlias = str | _Int8 | _Int32 | _Table | Sequence[float] | Sequence[_Table]

_TENSOR_AXIS_LABELS = _Int8(2)
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = _Int8(1), _Int8(2)
_NORMALIZATION_OPTIONS = _Int8(1)
_RGB, _GRAYSCALE = _Int8(1), _Int8(2)


def metadata_flatbuffer(card: ModelCard, *, labels_file: str, card_file: str) -> bytes:
    """The content of the buffer TFLITE_METADATA: a ModelMetadata.

    The input's normalisation is (pixel - 0) / 1: pixels 0..255 go in as they are.

    Args:
        card: what to say.
        labels_file: name of the associated file with one label per line.
        card_file: name of the associated file with the whole card.
    """
    side = _Int32(card.image_size)
    image = _Table({0: _RGB if card.channels == 3 else _GRAYSCALE, 1: _Table({0: side, 1: side})})
    images = _Table(
        {
            0: "images",
            1: "One picture, pixels 0 to 255, normalised inside the model. The short side is "
            f"scaled to {card.short_side} (bicubic, antialiased), then a square of "
            f"{card.image_size} is cut from the centre.",
            3: _Table({0: _IMAGE_PROPERTIES, 1: image, 2: _Table({0: _Int32(0), 1: _Int32(255)})}),
            4: [_Table({0: _NORMALIZATION_OPTIONS, 1: _Table({0: [0.0], 1: [1.0]})})],
            5: _Table({0: [255.0], 1: [0.0]}),  # Largest and smallest value.
        }
    )
    labels = _Table({0: labels_file, 1: "One class name per line.", 2: _TENSOR_AXIS_LABELS})
    logits = _Table(
        {
            0: "logits",
            1: "One logit per class; their softmax gives probabilities.",
            3: _Table({0: _FEATURE_PROPERTIES, 1: _Table({})}),
            6: [labels],
        }
    )
    more = _Table({0: card_file, 1: "The same and more as JSON."})
    model = _Table(
        {
            0: card.name,
            1: _description(card),
            2: card.version,
            3: [_Table({2: [images], 3: [logits], 4: [more]})],
            7: "1.0.0",  # The oldest parser of the standard knew all of these fields.
        }
    )
    builder = flatbuffers.Builder(4096)
    builder.Finish(_write(builder, model), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _description(card: ModelCard) -> str:
    text = f"Classifies {card.dataset or 'images'} into {len(card.labels)} classes."
    if card.top1 is not None:
        text += f" Top-1 {card.top1:.2%} on {card.examples} test images before conversion."
    return text


def _write(builder: flatbuffers.Builder, value: _Value) -> int:
    """Writes a value, what it refers to first, and returns its place."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, _Table):
        places = {
            number: _write(builder, field)
            for number, field in value.fields.items()
            if not isinstance(field, (_Int8, _Int32))
        }
        builder.StartObject(max(value.fields, default=-1) + 1)
        for number, field in value.fields.items():
            if isinstance(field, _Int8):
                builder.PrependInt8Slot(number, field.value, 0)
            elif isinstance(field, _Int32):
                builder.PrependInt32Slot(number, field.value, 0)
            else:
                builder.PrependUOffsetTRelativeSlot(number, places[number], 0)
        return builder.EndObject()
    assert not isinstance(value, (_Int8, _Int32))
    items = [_write(builder, item) if isinstance(item, _Table) else item for item in value]
    builder.StartVector(number_types.UOffsetTFlags.bytewidth, len(items), 4)
    for item in reversed(items):
        if isinstance(item, float):
            builder.PrependFloat32(item)
        else:
            builder.PrependUOffsetTRelative(item)
    return builder.EndVector()
