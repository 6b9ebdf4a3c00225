"""Puts a model card into a TFLite file, and reads it back.

As the TFLite metadata standard has it: a flatbuffer named TFLITE_METADATA inside the model, and a
zip archive with the associated files behind it, which runtimes ignore and any zip program opens.
The archive holds `labels.txt` and, for what the standard has no words for, `std_keras.json`.
"""

from __future__ import annotations

import dataclasses
import io
import re
import zipfile

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from std_keras.errors import InputError
from std_keras.exporting.classifying.card import ModelCard
from std_keras.exporting.classifying.small_file import packed
from std_keras.exporting.classifying.tflite_metadata import metadata_flatbuffer
from std_keras.files.texts import as_utf8

LABELS_FILE = "labels.txt"
CARD_FILE = "std_keras.json"
_MODEL_IDENTIFIER = b"TFL3"
_METADATA_NAME = "TFLITE_METADATA"
_LARGEST_FILE = 16 << 20  # Of one that is read from the archive, in bytes.
_LINE_BREAKS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")


def describe(content: bytes, card: ModelCard) -> bytes:
    """The TFLite file `content` with `card` inside, in place of an earlier one.

    It computes the same; the weights move to multiples of 16 bytes.

    Raises:
        ValueError: `content` is not a TFLite file.
    """
    if not is_tflite(content):
        raise ValueError("content is not a TFLite file")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    model.metadata = model.metadata or []
    entry = next((m for m in model.metadata if m.name == _METADATA_NAME.encode()), None)
    if entry is None:
        entry = schema.MetadataT()
        entry.name, entry.buffer = _METADATA_NAME, len(model.buffers)
        model.metadata.append(entry)
        model.buffers.append(schema.BufferT())
    card = dataclasses.replace(card, dataset=as_utf8(card.dataset))
    standard = metadata_flatbuffer(card, labels_file=LABELS_FILE, card_file=CARD_FILE)
    model.buffers[entry.buffer].data = np.frombuffer(standard, np.uint8)
    file = io.BytesIO(packed(model, len(content) + (1 << 16)))
    with zipfile.ZipFile(file, "a") as archive:  # Behind the model; its offsets count from byte 0.
        labels = "".join(f"{_LINE_BREAKS.sub(' ', label)}\n" for label in card.labels)
        for name, text in ((LABELS_FILE, labels), (CARD_FILE, card.to_json())):
            # Stored, so that a web page reads it without a decompressor; the date is zip's zero.
            archive.writestr(zipfile.ZipInfo(name), text.encode())
    return file.getvalue()


def read_description(content: bytes, *, name: str) -> ModelCard:
    """The card of a TFLite file, by `describe`.

    Args:
        content: the file.
        name: what errors call it.

    Raises:
        InputError: it is not a TFLite file, or its card is missing or damaged.
    """
    if not is_tflite(content):
        raise InputError(f"{name} is not a TFLite file")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            labels, card = (_read(archive, file) for file in (LABELS_FILE, CARD_FILE))
    except (zipfile.BadZipFile, KeyError) as error:
        if isinstance(error, zipfile.BadZipFile) and _is_cut(content):
            raise InputError(f"{name} is cut off or damaged; copy or export it again") from error
        raise InputError(
            f"{name} contains no labels; export it again with std-keras export"
        ) from error
    except (ValueError, OSError, RuntimeError, NotImplementedError, EOFError) as error:
        raise InputError(f"{name} contains damaged metadata: {error}") from error
    try:
        return ModelCard.from_json(card, labels=tuple(labels.removesuffix("\n").split("\n")))
    except ValueError as error:
        raise InputError(f"{name} contains metadata that cannot be used: {error}") from error


def is_tflite(content: bytes) -> bool:
    """Whether these bytes begin as a TFLite file does."""
    return len(content) > 8 and content[4:8] == _MODEL_IDENTIFIER


def _is_cut(content: bytes) -> bool:
    """Whether a TFLite file without a readable archive lacks more: a weight, or what it names."""
    try:
        model = schema.Model.GetRootAs(content, 0)
        count = model.BuffersLength()
        if 4 * count > len(content):
            return True
        for buffer in map(model.Buffers, range(count)):
            if buffer.DataLength():
                buffer.Data(buffer.DataLength() - 1)
    except Exception:  # Offsets lead anywhere in what is damaged.
        return True
    return CARD_FILE.encode() in content  # Its own description names the archive's file.


def _read(archive: zipfile.ZipFile, name: str) -> str:
    with archive.open(name) as file:
        content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise ValueError(f"{name} is larger than {_LARGEST_FILE >> 20} MiB")
    return content.decode()
