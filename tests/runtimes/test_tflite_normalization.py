"""The range of pixels in the metadata of a TFLite file, written by its own builder."""

from __future__ import annotations

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from std_keras.exporting.classifying import tflite_metadata as writer
from std_keras.exporting.classifying.tflite_metadata import _Int8, _Table
from std_keras.runtimes.tflite_file import TfliteFile
from std_keras.runtimes.tflite_normalization import declared_range
from tests.runtimes.test_tflite_file import content


def described(mean, std, *, units=None):
    """The linear network with a NormalizationOptions of these values."""
    if units is None:
        units = [_Table({0: _Int8(1), 1: _Table({0: mean, 1: std})})]
    metadata = _Table({0: "m", 3: [_Table({2: [_Table({0: "images", 4: units})]})]})
    builder = flatbuffers.Builder(256)
    builder.Finish(writer._write(builder, metadata), file_identifier=b"M001")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content(), 0))
    entry = schema.MetadataT()
    entry.name, entry.buffer = "TFLITE_METADATA", len(model.buffers)
    model.metadata = [*(model.metadata or []), entry]
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.frombuffer(bytes(builder.Output()), np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize(
    ("mean", "std", "known"),
    [
        ([0.0], [1.0], "byte"),
        ([0.0], [255.0], "unit"),
        ([127.5], [127.5], "signed"),
        ([128.0], [128.0], "signed"),
        ([127.5] * 3, [127.5] * 3, "signed"),
        ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375], "imagenet"),
        ([123.675, 116.28, 103.53], [1.0, 1.0, 1.0], None),
        ([0.0], [100.0], None),
        ([0.0], [0.0], None),
        ([], [], None),
    ],
)
def test_ranges(tmp_path, mean, std, known):
    written = described(mean, std)
    assert declared_range(written) == known
    (tmp_path / "t.tflite").write_bytes(written)
    assert TfliteFile(tmp_path / "t.tflite", name="t").input.range == known


def test_files_that_say_nothing():
    assert declared_range(content()) is None
    assert declared_range(described([], [], units=[])) is None
    assert declared_range(described([], [], units=[_Table({0: _Int8(2), 1: _Table({})})])) is None


def test_damaged_metadata_says_nothing_and_does_no_harm():
    whole = described([0.0], [255.0])
    start = whole.index(b"M001")
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole)
        for place in rng.integers(start - 4, start + 120, 4):
            damaged[place] = rng.integers(0, 256)
        assert declared_range(bytes(damaged)) in (None, "byte", "unit", "signed", "imagenet")
