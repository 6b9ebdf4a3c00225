"""ONNX files: what they say, what they return, and what of them is refused."""

from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from std_keras.errors import InputError
from std_keras.runtimes import onnx_file
from std_keras.runtimes.onnx_file import OnnxFile, parts
from tests.runtimes.networks import CHANNELS, CLASSES, MATRIX, SIDE, expected, write, write_linear

IMAGES = np.random.default_rng(1).uniform(0, 1, (5, SIDE, SIDE, CHANNELS)).astype(np.float32)


def opened(path, **options):
    return OnnxFile(path, name="teacher=t.onnx", **options)


def refused(path, **options):
    with pytest.raises(InputError) as info:
        opened(path, **options)
    message = str(info.value)
    assert message.startswith("teacher=t.onnx ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("batch", ["batch", 5])
def test_outputs(tmp_path, layout, batch):
    file = opened(write_linear(tmp_path / "t.onnx", layout=layout, batch=batch))
    assert (file.input.layout, file.input.batch) == (layout, None if batch == "batch" else batch)
    outputs = file.run(file.input.encoded(IMAGES, layout=layout))
    np.testing.assert_allclose(outputs, expected(IMAGES), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("sizes", "layout"),
    [
        ((3, "h", "w"), "nchw"),
        (("h", "w", 3), "nhwc"),
        ((1, 28, 28), "nchw"),
        ((3, 8, 3), None),
        (("c", "h", "w"), None),
        ((8, 8, 8), None),
    ],
)
def test_the_layout_goes_by_the_channels(tmp_path, sizes, layout):
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    write(
        tmp_path / "t.onnx",
        nodes,
        inputs={"x": (TensorProto.FLOAT, ["n", *sizes])},
        outputs={"y": ["n", "k"]},
    )
    found = opened(tmp_path / "t.onnx").input
    assert found.layout == layout
    assert found.shape == tuple(size if isinstance(size, int) else None for size in sizes)


@pytest.mark.parametrize(
    ("kind", "facts", "known"),
    [
        (TensorProto.FLOAT, {}, None),
        (TensorProto.UINT8, {}, "byte"),
        (TensorProto.FLOAT, {"Image.NominalPixelRange": "NominalRange_0_255"}, "byte"),
        (TensorProto.FLOAT, {"Image.NominalPixelRange": "Normalized_0_1"}, "unit"),
        (TensorProto.FLOAT, {"Image.NominalPixelRange": "Normalized_1_1"}, "signed"),
        (TensorProto.FLOAT, {"Image.NominalPixelRange": "NominalRange_16_235"}, None),
    ],
)
def test_the_range_of_pixels(tmp_path, kind, facts, known):
    file = opened(write_linear(tmp_path / "t.onnx", kind=kind, facts=facts))
    assert file.input.range == known


def test_integers_are_rounded(tmp_path):
    file = opened(write_linear(tmp_path / "t.onnx", kind=TensorProto.UINT8))
    pixels = IMAGES * 300 - 20  # Beyond both ends.
    outputs = file.run(file.input.encoded(pixels, layout="nchw"))
    wanted = expected(np.clip(np.round(pixels), 0, 255))
    np.testing.assert_allclose(outputs, wanted, rtol=1e-4, atol=1e-2)


def test_blue_first(tmp_path):
    facts = {"Image.BitmapPixelFormat": "Bgr8"}
    file = opened(write_linear(tmp_path / "t.onnx", facts=facts))
    outputs = file.run(file.input.encoded(IMAGES, layout="nchw"))
    np.testing.assert_allclose(outputs, expected(IMAGES[..., ::-1]), rtol=1e-4, atol=1e-4)


def test_the_output_that_is_meant(tmp_path):
    batch = IMAGES.transpose(0, 3, 1, 2)
    file = opened(write_linear(tmp_path / "a.onnx", names=("scores", "logits")))
    np.testing.assert_allclose(file.run(batch), -expected(IMAGES), rtol=1e-4, atol=1e-4)
    path = write_linear(tmp_path / "b.onnx", names=("scores", "probabilities"))
    assert "returns probabilities, scores" in refused(path)
    file = opened(path, output="probabilities")
    np.testing.assert_allclose(file.run(batch), -expected(IMAGES), rtol=1e-4, atol=1e-4)


def test_two_inputs(tmp_path):
    one = (TensorProto.FLOAT, ["n", 3, 8, 8])
    nodes = [helper.make_node("Add", ["x", "z"], ["s"]), helper.make_node("Flatten", ["s"], ["y"])]
    write(tmp_path / "t.onnx", nodes, inputs={"x": one, "z": one}, outputs={"y": ["n", 192]})
    assert "takes 2 inputs (x, z)" in refused(tmp_path / "t.onnx")


def test_an_input_that_is_no_image(tmp_path):
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    write(
        tmp_path / "t.onnx",
        nodes,
        inputs={"x": (TensorProto.FLOAT, ["n", 7])},
        outputs={"y": ["n", 7]},
    )
    assert "one batch of images" in refused(tmp_path / "t.onnx")


# Hostile and damaged files


def test_truncated_files(tmp_path):
    content = write_linear(tmp_path / "whole.onnx").read_bytes()
    path = tmp_path / "t.onnx"
    for size in (0, 1, 20, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        refused(path)


@pytest.mark.parametrize("content", [b"PK\x03\x04" + bytes(100), b"\x80\x04pickle", b"<html>" * 9])
def test_other_files(tmp_path, content):
    (tmp_path / "t.onnx").write_bytes(content)
    assert "is not an ONNX file" in refused(tmp_path / "t.onnx")


def test_flipped_bytes_end_in_a_sentence_or_in_a_network(tmp_path):
    content = write_linear(tmp_path / "whole.onnx").read_bytes()
    rng, path = np.random.default_rng(0), tmp_path / "t.onnx"
    for _ in range(40):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content) - 4 * MATRIX.size, 3):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(bytes(damaged))
        try:
            opened(path)
        except InputError as error:
            assert "\n" not in str(error)


def external(folder, location, *, in_node=False):
    """The linear network with its matrix in another file."""
    path = folder / "t.onnx"
    model = onnx.load_model_from_string(write_linear(path).read_bytes())
    if in_node:
        array = model.graph.initializer[0]
        node = helper.make_node("Constant", [], ["matrix"], value=array)
        model.graph.node.insert(0, node)
        model.graph.ClearField("initializer")
        tensor = model.graph.node[0].attribute[0].t
    else:
        tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", str(location)
    path.write_bytes(model.SerializeToString())
    return path


def test_data_beside_the_file(tmp_path):
    (tmp_path / "t.onnx.data").write_bytes(MATRIX.tobytes())
    path = external(tmp_path, "t.onnx.data")
    assert parts(path, name="t") == [path, tmp_path / "t.onnx.data"]
    outputs = opened(path).run(IMAGES.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(outputs, expected(IMAGES), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("in_node", [False, True])
@pytest.mark.parametrize("location", ["../secret", "a/../../secret", "absolute", "..\\secret"])
def test_data_outside_the_folder(tmp_path, location, in_node):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(MATRIX.tobytes())
    written = tmp_path / "secret" if location == "absolute" else location
    assert "outside its own folder" in refused(external(folder, written, in_node=in_node))


def test_names_that_cannot_be_looked_up(tmp_path):
    for location in ("a\0b", "a" * 5000):
        assert "outside its own folder" in refused(external(tmp_path, location))
    for location in ("a" * 300, "a\nb\x1b[31m"):
        message = refused(external(tmp_path, location))
        assert "which is not in" in message and "\x1b" not in message


def test_data_in_a_hole(tmp_path):
    with open(tmp_path / "t.onnx.data", "wb") as file:
        file.truncate(1 << 42)
    message = refused(external(tmp_path, "t.onnx.data"))
    assert "'t.onnx.data', which has 4,398,046,511,104 bytes, more than half" in message


def test_a_file_larger_than_protobuf_allows(tmp_path):
    path = write_linear(tmp_path / "t.onnx")
    os.truncate(path, (1 << 31) + 1)
    assert "larger than protobuf allows" in refused(path)


def test_names_and_words_from_the_file_stay_on_one_line(tmp_path):
    names = [f"out\x1b[31m\n{number}" for number in range(3000)]
    message = refused(write_linear(tmp_path / "t.onnx", names=names))
    assert "and 2992 more; it must return one" in message
    assert message.isprintable() and len(message) < 500


def test_data_behind_a_link(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(MATRIX.tobytes())
    (folder / "t.onnx.data").symlink_to(tmp_path / "secret")
    assert "outside its own folder" in refused(external(folder, "t.onnx.data"))


def test_a_cache_of_links(tmp_path):
    """The layout of a hub's cache: both files are links to a folder of blobs."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (blobs / "b").write_bytes(MATRIX.tobytes())
    external(blobs, "t.onnx_data").rename(blobs / "a")
    (snapshot / "t.onnx").symlink_to(blobs / "a")
    (snapshot / "t.onnx_data").symlink_to(blobs / "b")
    outputs = opened(snapshot / "t.onnx").run(IMAGES.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(outputs, expected(IMAGES), rtol=1e-4, atol=1e-4)


def test_data_that_is_not_there(tmp_path):
    message = refused(external(tmp_path, "t.onnx.data"))
    assert "'t.onnx.data'" in message
    assert "copy it there" in message


def test_data_that_is_too_short(tmp_path):
    (tmp_path / "t.onnx.data").write_bytes(MATRIX.tobytes()[:-4])
    assert "cannot be loaded as an ONNX file" in refused(external(tmp_path, "t.onnx.data"))


def test_an_operator_of_somebody_elses(tmp_path):
    nodes = [helper.make_node("RunAnything", ["x"], ["y"], domain="com.example")]
    write(
        tmp_path / "t.onnx",
        nodes,
        inputs={"x": (TensorProto.FLOAT, ["n", 3, 8, 8])},
        outputs={"y": ["n", CLASSES]},
    )
    model = onnx.load(tmp_path / "t.onnx")
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    onnx.save(model, tmp_path / "t.onnx")
    assert refused(tmp_path / "t.onnx") == (
        "teacher=t.onnx has the operator com.example:RunAnything, which ONNX Runtime does not "
        "have; export it with the operators of the ONNX standard alone"
    )


@pytest.mark.parametrize("what", ["ir", "opset"])
def test_a_newer_onnx(tmp_path, what):
    path = write_linear(tmp_path / "t.onnx")
    model = onnx.load(path)
    if what == "ir":
        model.ir_version = 99
    else:
        model.opset_import[0].version = 99
    onnx.save(model, path)
    message = refused(path)
    assert "is of a newer ONNX than ONNX Runtime" in message and "99" in message
    assert "export it with an older opset_version" in message


def calling(*, functions, calls):
    """Functions each of which calls the one before so many times."""
    made = [
        helper.make_function(
            "own",
            "F0",
            ["x"],
            ["y"],
            [helper.make_node("Identity", ["x"], ["y"])],
            [helper.make_opsetid("", 17)],
        )
    ]
    for number in range(1, functions):
        names = ["x", *(f"t{i}" for i in range(calls - 1)), "y"]
        nodes = [
            helper.make_node(f"F{number - 1}", [names[i]], [names[i + 1]], domain="own")
            for i in range(calls)
        ]
        opset = [helper.make_opsetid("own", 1)]
        made.append(helper.make_function("own", f"F{number}", ["x"], ["y"], nodes, opset))
    return made


@pytest.mark.parametrize(
    ("functions", "calls", "used"),
    [(3, 2, True), (30, 2, False), (2000, 1, False), (10, 9, False)],
)
def test_functions_that_unfold_without_end(tmp_path, functions, calls, used):
    path = write_linear(tmp_path / "t.onnx")
    model = onnx.load(path)
    model.functions.extend(calling(functions=functions, calls=calls))
    model.opset_import.append(helper.make_opsetid("own", 1))
    last = helper.make_node(f"F{functions - 1}", ["scores"], ["end"], domain="own")
    model.graph.node.append(last)
    model.graph.output[0].name = "end"
    onnx.save(model, path)
    if used:
        images = np.random.default_rng(0).random((2, SIDE, SIDE, CHANNELS)).astype(np.float32)
        outputs = opened(path).run(images.transpose(0, 3, 1, 2))
        np.testing.assert_allclose(outputs, expected(images), rtol=1e-4, atol=1e-5)
    else:
        assert "more than 30,000 operators, which no classifier has" in refused(path)


def test_more_operators_than_any_classifier_has(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "_MOST_OPERATORS", 3)
    path = write_linear(tmp_path / "t.onnx")
    assert "more than 3 operators" in refused(path)
