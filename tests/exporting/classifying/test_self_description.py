from __future__ import annotations

import dataclasses
import io
import json
import zipfile

import flatbuffers
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from std_keras.errors import InputError
from std_keras.exporting.classifying import describe, read_description


@pytest.fixture(scope="module")
def plain() -> bytes:
    """A TFLite file of one matrix product."""
    matrix = tf.constant(np.random.default_rng(2).normal(size=(48, 10)), tf.float32)

    @tf.function(input_signature=[tf.TensorSpec((1, 48), tf.float32, name="x")])
    def product(x):
        return x @ matrix

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [product.get_concrete_function()], product
    )
    return converter.convert()


def run(content: bytes) -> np.ndarray:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    x = np.linspace(-1, 1, 48, dtype=np.float32)[np.newaxis]
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_it_reads_what_it_wrote_and_the_model_is_the_same(plain, card):
    described = describe(plain, card)
    assert read_description(described, name="a.tflite") == card
    np.testing.assert_array_equal(run(described), run(plain))
    assert len(described) < len(plain) + 4000


def test_constants_stay_aligned(plain, card):
    """The schema has `data:[ubyte] (force_align: 16)`, which delegates may count on."""
    weights = next(
        np.asarray(b.data)
        for b in schema.ModelT.InitFromObj(schema.Model.GetRootAs(plain, 0)).buffers
        if b.data is not None and len(b.data) == 48 * 10 * 4
    ).tobytes()
    for label in ("a", "ab", "abcdefghijklmno"):  # Other lengths move everything before the end.
        labels = (label, *card.labels[1:])
        content = describe(plain, dataclasses.replace(card, name=label, labels=labels))
        assert content.count(weights) == 1
        assert content.index(weights) % 16 == 0


def test_equal_lists_of_integers_stay_one(plain, card):
    """A quantised kernel has a zero point, 8 bytes of nothing, for each of its channels."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(plain, 0))
    zeros = np.zeros(1000, np.int64)
    for tensor in model.subgraphs[0].tensors:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.zeroPoint = zeros
    assert len(model.subgraphs[0].tensors) >= 3
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    assert len(describe(bytes(builder.Output()), card)) < len(plain) + zeros.nbytes + 4000


def test_describing_again_replaces(plain, card):
    other = dataclasses.replace(card, name="resmlp_s12", labels=tuple("abcdefghij"))
    again = describe(describe(plain, card), other)
    assert read_description(again, name="a.tflite") == other
    assert again == describe(plain, other)


def test_any_zip_program_opens_it(plain, card, tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(describe(plain, card))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode() == "".join(f"{x}\n" for x in card.labels)
        assert json.loads(archive.read("std_keras.json"))["name"] == "mixer_s16"
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_labels_with_line_breaks_stay_one_line(plain, card):
    odd = dataclasses.replace(card, labels=("a\nb", "c\r\nd", *card.labels[2:]))
    read = read_description(describe(plain, odd), name="a.tflite")
    assert read.labels == ("a b", "c d", *card.labels[2:])


def test_the_standard_metadata(plain, card):
    """Read with field numbers of metadata_schema.fbs only, by a reader that shares no code."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(describe(plain, card), 0))
    (entry,) = [m for m in model.metadata if m.name == b"TFLITE_METADATA"]
    data = bytes(bytearray(model.buffers[entry.buffer].data))
    assert data[4:8] == b"M001"
    root = Table(data, int.from_bytes(data[:4], "little"))
    assert root.text(0) == "mixer_s16"
    assert root.text(1) == (
        "Classifies numbers into 10 classes. Top-1 75.00% on 40 test images before conversion."
    )
    assert root.text(2) == "1.2.3"
    assert root.text(7) == "1.0.0"
    (graph,) = root.tables(3)
    (images,), (logits,), (more,) = graph.tables(2), graph.tables(3), graph.tables(4)
    assert images.text(0) == "images"
    assert "scaled to 18 " in images.text(1)
    content = images.table(3)
    assert content.number(0, 1) == 2  # ImageProperties
    assert content.table(1).number(0, 1) == 1  # RGB
    assert [content.table(1).table(1).number(i, 4) for i in (0, 1)] == [16, 16]
    assert [content.table(2).number(i, 4) for i in (0, 1)] == [0, 255]
    (unit,) = images.tables(4)
    assert unit.number(0, 1) == 1  # NormalizationOptions
    assert [unit.table(1).floats(i) for i in (0, 1)] == [[0.0], [1.0]]
    assert [images.table(5).floats(i) for i in (0, 1)] == [[255.0], [0.0]]
    assert logits.text(0) == "logits"
    (labels,) = logits.tables(6)
    assert (labels.text(0), labels.number(2, 1)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
    assert more.text(0) == "std_keras.json"


class Table:
    """A table of a flatbuffer, by the binary format's definition."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def integer(self, at: int, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.data[at : at + size], "little", signed=signed)

    def place(self, field: int) -> int | None:
        vtable = self.at - self.integer(self.at, 4, signed=True)
        if 4 + 2 * field >= self.integer(vtable, 2):
            return None
        offset = self.integer(vtable + 4 + 2 * field, 2)
        return self.at + offset if offset else None

    def number(self, field: int, size: int) -> int:
        place = self.place(field)
        return 0 if place is None else self.integer(place, size)

    def follow(self, field: int) -> int:
        place = self.place(field)
        assert place is not None
        return place + self.integer(place, 4)

    def text(self, field: int) -> str:
        at = self.follow(field)
        return self.data[at + 4 : at + 4 + self.integer(at, 4)].decode()

    def table(self, field: int) -> Table:
        return Table(self.data, self.follow(field))

    def tables(self, field: int) -> list[Table]:
        at = self.follow(field)
        places = [at + 4 + 4 * i for i in range(self.integer(at, 4))]
        return [Table(self.data, place + self.integer(place, 4)) for place in places]

    def floats(self, field: int) -> list[float]:
        at = self.follow(field)
        return np.frombuffer(self.data, "<f4", self.integer(at, 4), at + 4).tolist()


def archive_behind(content: bytes, files: dict[str, bytes]) -> bytes:
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return file.getvalue()


def test_refused_files(plain, card):
    good = card.to_json().encode()
    for content, said in [
        (b"", "is not a TFLite file"),
        (b"PK\x05\x06" + bytes(18), "is not a TFLite file"),
        (plain, "contains no labels; export it again"),
        (archive_behind(plain, {"labels.txt": b"a\n"}), "contains no labels"),
        (describe(plain, card)[:-30], "is cut off or damaged; copy"),
        (describe(plain, card)[: len(plain) // 2], "is cut off or damaged; copy"),
        (plain[: len(plain) // 2], "is cut off or damaged; copy"),
        (archive_behind(plain, {"labels.txt": b"\xff\xfe", "std_keras.json": good}), "damaged"),
        (
            archive_behind(plain, {"labels.txt": bytes(20 << 20), "std_keras.json": good}),
            "labels.txt is larger than 16 MiB",
        ),
        (archive_behind(plain, {"labels.txt": b"a\n", "std_keras.json": b"{"}), "cannot be used"),
        (archive_behind(plain, {"labels.txt": b"a\n", "std_keras.json": b"{}"}), "cannot be used"),
    ]:
        with pytest.raises(InputError, match=said) as refusal:
            read_description(content, name="a.tflite")
        assert str(refusal.value).startswith("a.tflite ")
    with pytest.raises(ValueError, match="not a TFLite"):
        describe(b"", card)
