"""Batches of any size through files that take any size, or one."""

from __future__ import annotations

import signal

import numpy as np
import pytest

from std_keras.errors import InputError
from std_keras.runtimes.image_file import ImageInput
from std_keras.runtimes.predictor import HostPredictor, open_file
from tests.forking import in_fork
from tests.runtimes.networks import CHANNELS, SIDE, expected, write_linear

IMAGES = np.random.default_rng(2).uniform(0, 1, (37, SIDE, SIDE, CHANNELS)).astype(np.float32)


@pytest.mark.parametrize("batch", ["batch", 1, 8, 64])
@pytest.mark.parametrize("threads", [0, 1, 3])
def test_batches(tmp_path, batch, threads):
    file = open_file(write_linear(tmp_path / "t.onnx", batch=batch), name="t")
    predictor = HostPredictor(file, layout="nchw", name="t", threads=threads)
    outputs = predictor(IMAGES)
    np.testing.assert_allclose(outputs, expected(IMAGES), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(outputs, predictor(IMAGES))
    one = HostPredictor(file, layout="nchw", name="t", threads=1)
    np.testing.assert_array_equal(outputs, one(IMAGES))


def test_a_forked_process_has_threads_of_its_own(tmp_path):
    file = open_file(write_linear(tmp_path / "t.onnx"), name="t")
    predictor = HostPredictor(file, layout="nchw", name="t", threads=2)
    outputs = predictor(IMAGES)

    def same():
        signal.alarm(60)  # Instead of waiting for ever.
        return np.array_equal(predictor(IMAGES), outputs)

    assert in_fork(same)
    np.testing.assert_array_equal(predictor(IMAGES), outputs)


class Failing:
    input, labels = ImageInput(None, (SIDE, SIDE, CHANNELS), "float32"), None

    def __init__(self, outputs):
        self.outputs = outputs

    def run(self, batch):
        if self.outputs is None:
            raise RuntimeError("no such kernel")
        return self.outputs


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (None, "no such kernel"),
        (np.zeros((1, 10), np.float32), "shape (1, 10) for 16 images"),
        (np.float32(1), "shape () for 16 images"),
    ],
)
def test_a_file_that_fails(outputs, words):
    predictor = HostPredictor(Failing(outputs), layout="nhwc", name="teacher=t.onnx")
    with pytest.raises(InputError) as info:
        predictor(IMAGES)
    assert str(info.value).startswith("teacher=t.onnx fails on images: ")
    assert words in str(info.value)
