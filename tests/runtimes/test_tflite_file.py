"""TFLite files: what they say, what they return, and what of them is refused."""

from __future__ import annotations

import functools
import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras.errors import InputError
from std_keras.exporting.classifying.card import ModelCard
from std_keras.exporting.classifying.self_description import describe
from std_keras.runtimes import tflite_file
from std_keras.runtimes.tflite_file import TfliteFile
from std_keras.runtimes.trial import tried
from tests.forking import in_fork
from tests.runtimes.networks import CHANNELS, CLASSES, MATRIX, SIDE, expected

IMAGES = np.random.default_rng(1).uniform(0, 1, (5, SIDE, SIDE, CHANNELS)).astype(np.float32)


@functools.cache
def content(batch=None, kind="float32", layout="nhwc", scale=1.0):
    """`expected` of images in 0..1 as a TFLite file."""
    own = (SIDE, SIDE, CHANNELS) if layout == "nhwc" else (CHANNELS, SIDE, SIDE)
    inputs = keras.Input(own, batch_size=batch)
    last = inputs if layout == "nhwc" else keras.layers.Permute((2, 3, 1))(inputs)
    dense = keras.layers.Dense(CLASSES, use_bias=False)
    model = keras.Model(inputs, dense(keras.layers.Flatten()(last)))
    dense.set_weights([MATRIX / scale])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        ends = np.stack([np.zeros(own), np.full(own, scale), IMAGES[0] * scale])
        converter.representative_dataset = lambda: ([one[None].astype("float32")] for one in ends)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(kind)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Statistics for quantized inputs")
        return converter.convert()


def opened(path, written):
    path.write_bytes(written)
    return TfliteFile(path, name="teacher=t.tflite")


def refused(path, written):
    with pytest.raises(InputError) as info:
        opened(path, written)
    message = str(info.value)
    assert message.startswith("teacher=t.tflite ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("batch", "layout"), [(None, "nhwc"), (5, "nhwc"), (None, "nchw")])
def test_outputs(tmp_path, batch, layout):
    file = opened(tmp_path / "t.tflite", content(batch, layout=layout))
    found = file.input
    assert (found.layout, found.batch, found.range) == (layout, batch, None)
    assert found.image_shape(layout) == (SIDE, SIDE, CHANNELS)
    outputs = file.run(found.encoded(IMAGES, layout=layout))
    np.testing.assert_allclose(outputs, expected(IMAGES), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "scale"), [("uint8", 1.0), ("int8", 1.0), ("uint8", 255.0)])
def test_integers_say_which_range_they_stand_for(tmp_path, kind, scale):
    file = opened(tmp_path / "t.tflite", content(kind=kind, scale=scale))
    assert file.input.kind == kind
    assert file.input.range == ("unit" if scale == 1.0 else "byte")
    outputs = file.run(file.input.encoded(IMAGES * scale, layout="nhwc"))
    assert outputs.dtype == np.float32
    wanted = expected(IMAGES)
    np.testing.assert_allclose(outputs, wanted, atol=0.05 * np.abs(wanted).max())


def test_a_file_of_this_project_says_all(tmp_path):
    labels = tuple(f"class {index}" for index in range(CLASSES))
    card = ModelCard("mixer_s16", "1", labels, SIDE, CHANNELS)
    file = opened(tmp_path / "t.tflite", describe(content(), card))
    assert (file.input.range, file.input.layout) == ("byte", "nhwc")
    assert file.labels == labels


def test_many_threads(tmp_path):
    file = opened(tmp_path / "t.tflite", content())
    batches = [np.roll(IMAGES, shift, axis=0) for shift in range(40)]
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(file.run, batches))
    for batch, output in zip(batches, outputs, strict=True):
        np.testing.assert_allclose(output, expected(batch), rtol=1e-4, atol=1e-4)


def test_a_fork_waits_until_no_interpreter_starts(tmp_path, monkeypatch):
    """While one does, its lock is taken and standard error is turned away."""
    file = opened(tmp_path / "t.tflite", content())
    starts, end = threading.Event(), threading.Event()
    interpreter = tflite_file.Interpreter

    def slowly(**arguments):
        starts.set()
        end.wait(60)
        return interpreter(**arguments)

    monkeypatch.setattr(tflite_file, "Interpreter", slowly)
    image = np.zeros((1, SIDE, SIDE, CHANNELS), np.float32)
    terminal = os.fstat(2)
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(file.run, image)
        starts.wait(60)
        forked = pool.submit(
            in_fork,
            lambda: tflite_file._STARTING.acquire(timeout=60) and os.fstat(2) == terminal,
        )
        with pytest.raises(TimeoutError):
            forked.result(timeout=0.2)
        end.set()
        assert forked.result(timeout=60)
        assert running.result(timeout=60).shape == (1, CLASSES)


def test_truncated_files(tmp_path):
    whole = content()
    for size in (0, 4, 9, 100, len(whole) // 2, len(whole) - 64):
        refused(tmp_path / "t.tflite", whole[:size])


def test_other_files(tmp_path):
    assert "is not a TFLite file" in refused(tmp_path / "t.tflite", b"PK\x03\x04" + bytes(100))


def test_flipped_bytes_do_not_end_this_process(tmp_path):
    """LiteRT may break on them, which is why a file is tried in another process first."""
    whole, path = content(), tmp_path / "t.tflite"
    rng = np.random.default_rng(0)
    for _ in range(6):
        damaged = bytearray(whole)
        for place in rng.integers(8, len(whole) - 4 * MATRIX.size, 8):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(bytes(damaged))
        try:
            tried(path, name="teacher=t.tflite", size=(SIDE, SIDE, CHANNELS))
        except InputError as error:
            assert str(error).startswith("teacher=t.tflite ")
            assert "\n" not in str(error)


def test_operators_that_litert_does_not_have(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE, CHANNELS])])
    def rolled(images):
        return tf.reduce_sum(tf.roll(images, 1, axis=1), axis=[2, 3])

    def converted(**options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of the module that is not tracked: there is none.
            converter = tf.lite.TFLiteConverter.from_concrete_functions(
                [rolled.get_concrete_function()]
            )
        for name, value in options.items():
            setattr(converter, name, value)
        return converter.convert()

    custom = converted(allow_custom_ops=True)
    assert "has the custom operator Roll, which LiteRT does not have; convert it" in refused(
        tmp_path / "t.tflite", custom
    )
    of_tensorflow = tf.lite.TargetSpec(
        supported_ops=[tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    )
    assert "needs TensorFlow's own operator FlexRoll, which LiteRT does not have" in refused(
        tmp_path / "t.tflite", converted(target_spec=of_tensorflow)
    )


def test_two_outputs(tmp_path):
    inputs = keras.Input((SIDE, SIDE, CHANNELS))
    flat = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, [keras.layers.Dense(CLASSES)(flat), flat])
    written = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    assert "has 1 input(s) and 2 output(s); a teacher must" in refused(
        tmp_path / "t.tflite", written
    )


def test_integers_of_sixteen_bits(tmp_path):
    inputs = keras.Input((SIDE, SIDE, CHANNELS))
    dense = keras.layers.Dense(CLASSES, use_bias=False)
    model = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    dense.set_weights([MATRIX])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    ends = [np.zeros_like(IMAGES[:1]), np.ones_like(IMAGES[:1]), IMAGES[:1]]
    converter.representative_dataset = lambda: ([one] for one in ends)
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    ]
    converter.inference_input_type = converter.inference_output_type = tf.int16
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Statistics for quantized inputs")
        file = opened(tmp_path / "t.tflite", converter.convert())
    outputs = file.run(file.input.encoded(IMAGES, layout="nhwc"))
    np.testing.assert_allclose(outputs, expected(IMAGES), atol=0.05)
