"""A file is tried in another process: what it says and returns, and how hostile ones end."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper

from std_keras.errors import InputError
from std_keras.runtimes import trial
from std_keras.runtimes.trial import tried
from tests.runtimes.networks import CHANNELS, CLASSES, SIDE, write, write_linear

SIZE = (SIDE, SIDE, CHANNELS)
INPUT = {"x": (TensorProto.FLOAT, ["n", 3, 8, 8])}


def refused(path, **options):
    with pytest.raises(InputError) as info:
        tried(path, name=f"teacher={path.name}", size=SIZE, **options)
    message = str(info.value)
    assert message.startswith(f"teacher={path.name} ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("batch", ["batch", 3])
def test_what_is_found(tmp_path, batch):
    path = write_linear(tmp_path / "t.onnx", batch=batch)
    found = tried(path, name="t", size=SIZE)
    assert found.input.layout == "nchw"
    assert found.input.shape == (CHANNELS, SIDE, SIDE)
    assert found.output_shape == (found.batch, CLASSES)
    assert found.batch == (2 if batch == "batch" else 3)


@pytest.mark.parametrize("shape", [(1, -1), (-1,)])
def test_a_file_that_mixes_the_images_of_a_batch(tmp_path, shape):
    """As it is exported with a batch of one, whatever its input says."""
    path = tmp_path / "t.onnx"
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    arrays = {"shape": np.array(shape)}
    write(path, nodes, inputs=INPUT, outputs={"y": ["a"] * len(shape)}, arrays=arrays)
    assert "for 2 images; it must return one row for each" in refused(path)


def test_a_file_may_not_have_more_memory_than_the_machine(tmp_path, monkeypatch):
    path = write_linear(tmp_path / "t.onnx")
    with open(tmp_path / "t.onnx.data", "wb") as file:
        file.truncate(1 << 42)  # A hole, which counts as the file's size.
    limits = []

    def run(command, **options):
        limits.append(int(command[-2]))
        raise InterruptedError

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(InterruptedError):
        tried(path, name="t", size=SIZE)
    assert limits == [trial.machine_memory()]


def test_this_process_loads_no_runtime(tmp_path):
    path = write_linear(tmp_path / "t.onnx")
    code = (
        "import sys; from pathlib import Path; from std_keras.runtimes.trial import tried; "
        f"tried(Path({str(path)!r}), name='t', size={SIZE}); "
        "print([m for m in ('onnxruntime', 'tensorflow', 'keras') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def bomb(path, *, folded):
    """A file of a few hundred bytes whose network makes an array of 4 TiB."""
    shape = np.array([1 << 20, 1 << 20], np.int64)
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Add", ["flat", "sum"], ["y"]),
    ]
    inputs = dict(INPUT)
    if not folded:  # Known only when the network runs.
        nodes[0] = helper.make_node("ConstantOfShape", ["computed"], ["zeros"])
        nodes[:0] = [
            helper.make_node("Shape", ["x"], ["of_x"]),
            helper.make_node("Slice", ["of_x", "from", "to"], ["two"]),
            helper.make_node("Mul", ["two", "shape"], ["computed"]),
        ]
    places = {"from": np.array([2], np.int64), "to": np.array([4], np.int64)}
    write(path, nodes, inputs=inputs, outputs={"y": ["n", 192]}, arrays={"shape": shape, **places})
    assert path.stat().st_size < 2000
    return path


@pytest.mark.parametrize("folded", [True, False])
def test_an_array_that_nobody_has_memory_for(tmp_path, folded):
    message = refused(bomb(tmp_path / "t.onnx", folded=folded))
    assert re.search(r"asks for more than 4,\d+ MiB of memory; it is not used$", message)


def test_a_batch_that_nobody_has_memory_for(tmp_path):
    path = write_linear(tmp_path / "t.onnx", batch=1 << 40)
    assert "memory" in refused(path)


def endless(path):
    """A network with a loop of 2**62 rounds."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["on"], ["on_out"]),
            helper.make_node("Add", ["v", "v"], ["v_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, ["n", 192]),
        ],
        [
            helper.make_tensor_value_info("on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", TensorProto.FLOAT, ["n", 192]),
        ],
    )
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Loop", ["rounds", "yes", "flat"], ["y"], body=body),
    ]
    arrays = {"rounds": np.array(1 << 62, np.int64), "yes": np.array(True)}
    write(path, nodes, inputs=INPUT, outputs={"y": ["n", 192]}, arrays=arrays)
    return path


def test_a_loop_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "_SECONDS", 2)
    assert "in 2 s of processor time" in refused(endless(tmp_path / "t.onnx"))


def test_a_file_that_breaks_the_runtime(tmp_path, monkeypatch):
    """The other process ends as if native code had failed."""
    path = write_linear(tmp_path / "t.onnx")
    breaking = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
    real = subprocess.run
    monkeypatch.setattr(trial.subprocess, "run", lambda _, **options: real(breaking, **options))
    assert "breaks the runtime that loads it (SIGSEGV)" in refused(path)


def test_a_network_that_fails_on_images(tmp_path):
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "m"], ["y"]),
    ]
    write(
        tmp_path / "t.onnx",
        nodes,
        inputs={"x": (TensorProto.FLOAT, ["n", 3, "h", "w"])},
        outputs={"y": ["n", 10]},
        arrays={"m": np.zeros((3 * 7 * 7, 10), np.float32)},
    )
    assert "fails on 2 image(s) of shape (8, 8, 3)" in refused(tmp_path / "t.onnx")


def test_a_layout_that_is_asked_for(tmp_path):
    nodes = [helper.make_node("Flatten", ["x"], ["y"])]
    write(
        tmp_path / "t.onnx",
        nodes,
        inputs={"x": (TensorProto.FLOAT, ["n", "a", "b", "c"])},
        outputs={"y": ["n", "k"]},
    )
    silent = tried(tmp_path / "t.onnx", name="t", size=(4, 5, 3))
    assert (silent.input.layout, silent.output_shape) == (None, ())
    told = tried(tmp_path / "t.onnx", name="t", size=(4, 5, 3), layout="nhwc")
    assert told.output_shape == (2, 60)
