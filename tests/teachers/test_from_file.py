"""ONNX and TFLite files as teachers: what they predict, and what they must be told."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
import tensorflow as tf
import torch
from onnx import TensorProto, helper

from std_keras.errors import InputError
from std_keras.teachers import input_size, load, parse
from std_keras.teachers.identity import identity
from tests.runtimes.networks import (
    CHANNELS,
    CLASSES,
    MATRIX,
    SIDE,
    expected,
    write,
    write_linear,
)

NAMES = tuple("0123456789")
IMAGES = np.random.default_rng(3).integers(0, 256, (5, SIDE, SIDE, CHANNELS), dtype=np.uint8)


def load_teacher(text, image_shape=(SIDE, SIDE, CHANNELS), labels=NAMES):
    return load(parse(text), image_shape=image_shape, label_names=labels)


def refused(text, **options):
    with pytest.raises(InputError) as info:
        load_teacher(text, **options)
    message = str(info.value)
    assert message.startswith("teacher=")
    assert "\n" not in message
    return message


def test_pytorch_by_way_of_its_own_exporter(tmp_path):
    """As docs/teachers.md has it."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, CLASSES),
    ).eval()
    path = tmp_path / "teacher.onnx"
    example = torch.zeros(2, 3, 12, 12)
    torch.onnx.export(
        network, (example,), path, input_names=["images"], dynamic_shapes=({0: "batch"},)
    )
    teacher = load_teacher(f"{path},input=imagenet", (12, 12, 3))
    assert teacher.on_host
    images = np.random.default_rng(0).integers(0, 256, (21, 12, 12, 3), dtype=np.uint8)
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    std = np.array([0.229, 0.224, 0.225], np.float32)
    pixels = ((images / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
    with torch.no_grad():
        wanted = network(torch.tensor(pixels)).numpy()
    np.testing.assert_allclose(teacher.logits(images), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(
    ("range_", "low", "high"), [("byte", 0, 255), ("unit", 0, 1), ("signed", -1, 1)]
)
def test_ranges(tmp_path, layout, range_, low, high):
    path = write_linear(tmp_path / "t.onnx", layout=layout)
    teacher = load_teacher(f"{path},input={range_}")
    pixels = low + IMAGES / np.float32(255) * (high - low)
    np.testing.assert_allclose(teacher.logits(IMAGES), expected(pixels), rtol=1e-3, atol=1e-2)


def test_in_a_graph(tmp_path):
    teacher = load_teacher(f"{write_linear(tmp_path / 't.onnx')},input=unit")
    data = tf.data.Dataset.from_tensors(IMAGES).repeat(3).map(teacher.logits, num_parallel_calls=2)
    assert data.element_spec.shape == (5, CLASSES)
    for logits in data:
        np.testing.assert_array_equal(logits, teacher.logits(IMAGES))


def test_images_of_another_size_are_scaled(tmp_path):
    path = write_linear(tmp_path / "t.onnx")
    teacher = load_teacher(f"{path},input=byte", (16, 16, 3))
    assert teacher.image_shape == (SIDE, SIDE, CHANNELS)
    large = IMAGES.repeat(2, axis=1).repeat(2, axis=2)
    scaled = tf.image.resize(large, (SIDE, SIDE), "bicubic", antialias=True)
    wanted = expected(np.clip(scaled.numpy(), 0, 255))
    np.testing.assert_allclose(teacher.logits(large), wanted, rtol=1e-3, atol=1e-1)


def test_what_must_be_told(tmp_path):
    path = write_linear(tmp_path / "t.onnx")
    assert "add ,input=byte|unit|signed|imagenet" in refused(str(path))
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", "fm", ["y"])]
    write(
        tmp_path / "open.onnx",
        nodes,
        inputs={"x": (TensorProto.FLOAT, ["n", "a", "b", "c"])},
        outputs={"y": ["n", CLASSES]},
        arrays={"m": MATRIX},
    )
    assert "add ,layout=nhwc|nchw" in refused(f"{tmp_path / 'open.onnx'},input=unit")
    teacher = load_teacher(f"{tmp_path / 'open.onnx'},input=unit,layout=nhwc")
    wanted = expected(IMAGES / np.float32(255))
    np.testing.assert_allclose(teacher.logits(IMAGES), wanted, rtol=1e-4, atol=1e-4)


def test_what_contradicts_the_file(tmp_path):
    facts = {"Image.NominalPixelRange": "Normalized_0_1"}
    path = write_linear(tmp_path / "t.onnx", facts=facts)
    assert "the file says input=unit" in refused(f"{path},input=byte")
    assert "which are nchw; leave layout out" in refused(f"{path},layout=nhwc")
    assert "its input is fixed at 8x8" in refused(f"{path},size=16")
    assert "takes images of 3 channel(s)" in refused(str(path), image_shape=(8, 8, 2))
    load_teacher(f"{path},input=unit,layout=nchw")


def test_a_layout_of_what_has_none(make_run, network):
    assert "leave layout out" in refused(f"{make_run(network())},layout=nhwc", labels=NAMES)


def test_another_number_of_classes(tmp_path):
    path = write_linear(tmp_path / "t.onnx")
    assert "has 10 classes, the data set has 3" in refused(f"{path},input=unit", labels=("a",) * 3)


def test_probabilities_are_found(tmp_path):
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("MatMul", "fm", ["z"]),
        helper.make_node("Softmax", ["z"], ["y"], axis=1),
    ]
    write(
        tmp_path / "t.onnx",
        nodes,
        inputs={"x": (TensorProto.FLOAT, ["n", SIDE, SIDE, CHANNELS])},
        outputs={"y": ["n", CLASSES]},
        arrays={"m": MATRIX / 10},
    )
    teacher = load_teacher(f"{tmp_path / 't.onnx'},input=unit")
    assert teacher.probabilities
    wanted = tf.nn.log_softmax(expected(IMAGES / 255.0) / 10)
    np.testing.assert_allclose(teacher.logits(IMAGES), wanted, rtol=1e-3, atol=1e-4)


def test_a_file_that_fails_later_gives_no_numbers(tmp_path, caplog):
    """Out of TensorFlow would come an exception without a sentence; the loss is checked."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Slice", ["f", "from", "to", "axes"], ["part"]),
        helper.make_node("ReduceMax", ["part"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["row"], to=TensorProto.INT64),
        helper.make_node("Gather", ["m", "row"], ["bias"]),
        helper.make_node("MatMul", ["f", "w"], ["z"]),
        helper.make_node("Add", ["z", "bias"], ["y"]),
    ]
    one = {name: np.array([value], np.int64) for name, value in (("from", 0), ("axes", 1))}
    write(
        tmp_path / "t.onnx",
        nodes,
        inputs={"x": (TensorProto.FLOAT, ["n", SIDE, SIDE, CHANNELS])},
        outputs={"y": ["n", CLASSES]},
        arrays={**one, "to": np.array([9], np.int64), "m": np.zeros((256, CLASSES)).astype("f4")}
        | {"w": MATRIX},
    )
    teacher = load_teacher(f"{tmp_path / 't.onnx'},input=byte")
    broken = dataclasses.replace(teacher, scale=lambda pixels: pixels + 1000.0)
    assert np.isnan(broken.logits(IMAGES)).all()
    assert "fails on images" in caplog.text


# Names of classes


def shuffled_names(tmp_path):
    names = list("3210987654")
    (tmp_path / "names.txt").write_text("".join(f"{name}\n" for name in names))
    return names, tmp_path / "names.txt"


def test_classes_in_another_order(tmp_path):
    names, file = shuffled_names(tmp_path)
    path = write_linear(tmp_path / "t.onnx")
    teacher = load_teacher(f"{path},input=unit,labels={file}")
    wanted = expected(IMAGES / np.float32(255))[:, [names.index(name) for name in NAMES]]
    np.testing.assert_allclose(teacher.logits(IMAGES), wanted, rtol=1e-4, atol=1e-4)


def test_some_of_many_classes(tmp_path):
    names, file = shuffled_names(tmp_path)
    path = write_linear(tmp_path / "t.onnx")
    teacher = load_teacher(f"{path},input=unit,labels={file}", labels=("4", "0"))
    wanted = expected(IMAGES / np.float32(255))[:, [names.index("4"), names.index("0")]]
    np.testing.assert_allclose(teacher.logits(IMAGES), wanted, rtol=1e-4, atol=1e-4)


def test_its_own_names_in_another_order(tmp_path):
    names, file = shuffled_names(tmp_path)
    file.rename(tmp_path / "labels.txt")
    path = write_linear(tmp_path / "t.onnx")
    assert "add ,labels=own" in refused(f"{path},input=unit")
    teacher = load_teacher(f"{path},input=unit,labels=own")
    assert teacher.order == tuple(names.index(name) for name in NAMES)
    first = identity(parse(f"{path},input=unit,labels=own"))
    (tmp_path / "labels.txt").write_text("\n".join(NAMES))
    assert identity(parse(f"{path},input=unit,labels=own")) != first


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("0\n1\n", "has 2 names, the teacher 10 classes"),
        ("\n".join("0123456788"), "names the class '8' twice"),
        ("\n".join("012345678a"), "does not name the data set's class '9'"),
        (None, "cannot be read"),
    ],
)
def test_bad_names(tmp_path, content, words):
    path = write_linear(tmp_path / "t.onnx")
    if content is not None:
        (tmp_path / "n.txt").write_text(content)
    assert words in refused(f"{path},input=unit,labels={tmp_path / 'n.txt'}")


def test_no_names_of_its_own(tmp_path):
    path = write_linear(tmp_path / "t.onnx")
    assert "no class names of its own" in refused(
        f"{path},input=unit,labels=own", labels=tuple("abcdefghij")
    )


# Identity and size


def test_the_identity_is_that_of_all_its_files(tmp_path):
    path = write_linear(tmp_path / "t.onnx")
    inline = identity(parse(f"{path},input=unit"))
    assert "teacher precision" not in identity(parse(f"{path},input=unit"), bfloat16=True)
    onnx.save_model(
        onnx.load_model(str(path)),
        str(path),
        save_as_external_data=True,
        location="t.data",
        size_threshold=0,
    )
    outside = identity(parse(f"{path},input=unit"))
    assert outside != inline
    data = bytearray((tmp_path / "t.data").read_bytes())
    data[0] ^= 1
    (tmp_path / "t.data").write_bytes(bytes(data))
    assert identity(parse(f"{path},input=unit")) not in (inline, outside)


@pytest.mark.parametrize(
    ("layout", "sizes", "found"),
    [("nchw", None, SIDE), ("nhwc", None, SIDE), ("nchw", (3, "h", "w"), None)],
)
def test_the_size_of_its_input(tmp_path, layout, sizes, found):
    path = write_linear(tmp_path / "t.onnx", layout=layout, sizes=sizes)
    assert input_size(parse(f"{path},input=unit")) == found
    assert input_size(parse(f"{path},input=unit,size=24")) == 24
