from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from std_keras.errors import InputError, Interrupted
from std_keras.exporting import convert, inference_model, largest_difference, run_file, top1, verify


@pytest.fixture(scope="module")
def model(student):
    return inference_model(student, head="classification")


@pytest.fixture(scope="module")
def content(model) -> bytes:
    return convert(model, quantization="float32")


def test_logits_are_those_of_every_image(model, content, images):
    found = run_file(content, images=images)
    np.testing.assert_allclose(found.logits, model(images.astype(np.float32)), atol=1e-4)


def test_a_file_on_disk_does_too(content, images, tmp_path):
    (tmp_path / "a.tflite").write_bytes(content)
    found = run_file(tmp_path / "a.tflite", images=images)
    np.testing.assert_array_equal(found.logits, run_file(content, images=images).logits)


class SlowInterpreter:
    """Takes a known time: long for the first calls, then short, with one outlier."""

    calls, clock = 0, 0.0

    def __init__(self, **_):
        SlowInterpreter.calls = 0

    def allocate_tensors(self):
        pass

    def get_input_details(self):
        return [{"shape": np.array([1, 8, 8, 1]), "dtype": np.uint8, "index": 0}]

    def get_output_details(self):
        return [{"shape": np.array([1, 10]), "index": 1}]

    def set_tensor(self, index, value):
        SlowInterpreter.clock += 0.003  # Not part of the inference.

    def get_tensor(self, index):
        return np.zeros((1, 10), np.float32)

    def invoke(self):
        SlowInterpreter.calls += 1
        warm = SlowInterpreter.calls > verify.WARM_UP_RUNS
        SlowInterpreter.clock += 0.001 if warm else 0.02
        if SlowInterpreter.calls == verify.WARM_UP_RUNS + 5:
            SlowInterpreter.clock += 0.1


def test_latency_is_the_median_without_warm_up(images, monkeypatch):
    monkeypatch.setattr(verify, "Interpreter", SlowInterpreter)
    monkeypatch.setattr(verify.time, "perf_counter", lambda: SlowInterpreter.clock)
    found = run_file(b"", images=images)
    assert found.latency_ms == pytest.approx(1.0)
    assert SlowInterpreter.calls == verify.WARM_UP_RUNS + verify.TIMED_RUNS


def test_a_time_is_taken_with_or_without_an_image(content, images):
    assert verify.time_file(content, num_threads=2) > 0
    assert verify.time_file(content, image=images[0], num_threads=1) > 0
    with pytest.raises(InputError, match="takes inputs of shape"):
        verify.time_file(content, image=images[0, :4], num_threads=1)


def test_figures_of_known_logits():
    logits = np.array([[0.0, 1.0], [2.0, 1.0], [5.0, 4.0], [np.nan, 1.0]])
    assert top1(logits, np.array([1, 0, 1, 1])) == 0.5  # A row with a NaN is wrong.
    assert largest_difference(logits[:3], np.array([[0.0, 1.5], [2.0, 1.0], [5.0, 3.25]])) == 0.75
    assert largest_difference(logits, np.zeros((4, 2))) is None


@pytest.mark.parametrize("damage", [lambda b: b[:200], lambda b: b"", lambda b: b"hello" * 99])
def test_a_damaged_file_is_named(content, images, damage):
    with pytest.raises(InputError, match=r"x\.tflite cannot be loaded"):
        run_file(damage(content), images=images, name="x.tflite")


def test_a_missing_file_is_named(images, tmp_path):
    with pytest.raises(InputError, match=r"y cannot be loaded .*No such file"):
        run_file(tmp_path / "y.tflite", images=images, name="y")


# The bias of the head lies in the file as it is.
@pytest.mark.parametrize(("damage", "finite"), [(b"\x00\x00\x40\x40", True), (b"\xff" * 4, False)])
def test_one_changed_weight_shows_in_the_difference(content, model, images, damage, finite):
    interpreter = Interpreter(model_content=content)
    head = [op for op in interpreter._get_ops_details() if op["op_name"] == "FULLY_CONNECTED"][-1]
    bias = interpreter.get_tensor(head["inputs"][2]).astype("<f4").tobytes()
    broken = content.replace(bias, damage + bias[4:])  # 3.0 or NaN
    assert broken != content
    reference = np.asarray(model(images.astype(np.float32)))
    assert largest_difference(run_file(content, images=images).logits, reference) < 1e-4
    difference = largest_difference(run_file(broken, images=images).logits, reference)
    assert difference > 0.1 if finite else difference is None


def test_images_of_another_size_are_refused(content):
    with pytest.raises(InputError, match=r"takes inputs of shape \[\(1, 8, 8, 1\)\].*\(1, 9, 9, 1"):
        run_file(content, images=np.zeros((2, 9, 9, 1), np.uint8))


def test_it_stops_when_asked(content, images):
    with pytest.raises(Interrupted):
        run_file(content, images=images, stop=lambda: True)
