"""Probabilities that are rounded: their sum is not 1, and they must not be taken for logits."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from onnx import TensorProto, helper

from std_keras.runtimes.last_operator import Ending, of_tflite
from std_keras.teachers import load, parse
from tests.runtimes.networks import CHANNELS, CLASSES, MATRIX, SIDE, expected, write

IMAGES = np.random.default_rng(2).integers(0, 256, (40, SIDE, SIDE, CHANNELS), dtype=np.uint8)
UNIT = IMAGES / np.float32(255)
NAMES = tuple("0123456789")
WANTED = tf.nn.softmax(expected(UNIT)).numpy()


def teacher(path):
    text = f"{path},input=unit" if path.suffix == ".onnx" else str(path)
    spec = parse(text)
    return load(spec, image_shape=(SIDE, SIDE, CHANNELS), label_names=NAMES)


def quantized(kind, *, softmax=True):
    """A TFLite file that computes in integers, and takes images of 0..1 as `kind`."""
    inputs = keras.Input((SIDE, SIDE, CHANNELS))
    dense = keras.layers.Dense(CLASSES, use_bias=False)
    outputs = dense(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.Softmax()(outputs) if softmax else outputs)
    dense.set_weights([MATRIX])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    ends = [np.zeros((1, SIDE, SIDE, CHANNELS)), np.ones((1, SIDE, SIDE, CHANNELS)), UNIT[:1]]
    converter.representative_dataset = lambda: ([one.astype(np.float32)] for one in ends)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.as_dtype(kind)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Statistics for quantized inputs")
        return converter.convert()


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_integers_after_a_softmax(tmp_path, kind):
    (tmp_path / "t.tflite").write_bytes(quantized(kind))
    found = teacher(tmp_path / "t.tflite")
    assert found.probabilities
    # TFLite writes a softmax in steps of 1/256; nothing is less than half of one.
    assert found.least == 1 / 512
    logits = found.logits(IMAGES).numpy()
    np.testing.assert_allclose(tf.nn.softmax(logits), WANTED, atol=0.03)
    assert (logits >= np.log(1 / 512) - 1e-6).all()


def test_real_numbers_of_an_integer_softmax():
    assert of_tflite(quantized("float32")) == Ending(softmax=True, step=1 / 256)
    logits = of_tflite(quantized("float32", softmax=False))
    assert not logits.softmax and logits.step > 0


@pytest.mark.parametrize("cut", [0, 20, 200])
def test_a_damaged_file_says_nothing(cut):
    assert of_tflite(quantized("int8")[:cut]) in (Ending(), Ending(step=1 / 256))


def onnx(path, *, after, step=1 / 256):
    """`expected` as an ONNX file, and the operators `after` it."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["0"]),
    ]
    for number, kind in enumerate(after):
        more = ["step", "zero"] if "Linear" in kind else []
        options = {"axis": 1} if kind == "Softmax" else {}
        nodes.append(helper.make_node(kind, [str(number), *more], [str(number + 1)], **options))
    write(
        path,
        nodes,
        inputs={"x": (TensorProto.FLOAT, ["n", SIDE, SIDE, CHANNELS])},
        outputs={str(len(after)): ["n", CLASSES]},
        arrays={"m": MATRIX, "step": np.float32(step), "zero": np.uint8(0)},
    )
    return path


ROUNDED = ["QuantizeLinear", "DequantizeLinear"]


@pytest.mark.parametrize("step", [1 / 256, 1 / 100])
def test_onnx(tmp_path, step):
    found = teacher(onnx(tmp_path / "t.onnx", after=["Softmax", *ROUNDED, "Identity"], step=step))
    assert found.probabilities
    rounded = np.minimum(np.round(WANTED / step), 255) * step
    assert step < 1 / 200 or not np.allclose(rounded.sum(axis=1), 1.0, atol=1e-2)
    wanted = np.log(np.clip(rounded, step / 2, 1.0))
    np.testing.assert_allclose(found.logits(IMAGES), wanted, atol=2e-3)


@pytest.mark.parametrize("after", [[], ROUNDED, ["Softmax", "Neg"], ["Sigmoid"]])
def test_other_endings_are_logits(tmp_path, after):
    found = teacher(onnx(tmp_path / "t.onnx", after=after))
    assert not found.probabilities and found.least < 1e-20
