"""A step that waits for data says so while it waits."""

from __future__ import annotations

import time
import types

import keras
import pytest
import tensorflow as tf

from std_keras import models
from std_keras.training import stall
from std_keras.training.stall import StallWarning, WaitingStep
from tests.training.tiny import make_state, task_of, trainer


def slow_batches(hold):
    """Batches of 8 digits; the third is late, by as long as `hold()` takes."""

    def produce():
        for i in range(4):
            if i == 2:
                hold()
            yield {"images": tf.zeros((8, 8, 8, 1), tf.uint8), "targets": tf.one_hot([i] * 8, 10)}

    signature = {
        "images": tf.TensorSpec((8, 8, 8, 1), tf.uint8),
        "targets": tf.TensorSpec((8, 10), tf.float32),
    }
    return tf.data.Dataset.from_generator(produce, output_signature=signature)


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(0)
    options = {"patch_size": 4, "width": 16, "depth": 1}
    model = models.create("mixer_s16", input_shape=(8, 8, 1), num_classes=10, **options)
    made = trainer(make_state(model), teachers=[], task=task_of(model, 0), batch_size=8)
    made.call(iter(slow_batches(lambda: None)), first_step=0, steps=1)  # Tracing is over.
    return made


def test_the_late_step_is_named_again_and_again_with_doubled_patience(trained, caplog):
    began = []

    def warned():
        return [r for r in caplog.records if "waited" in r.getMessage()]

    def hold():
        """Until it was warned three times."""
        began.append(time.time())
        deadline = time.monotonic() + 300
        while len(warned()) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)

    with StallWarning(trained.waiting, after=0.2):
        result = trained.call(iter(slow_batches(hold)), first_step=40, steps=4)
    assert result.steps == 4
    assert result.wait_seconds > 0.5
    assert len(warned()) >= 3
    for record, least in zip(warned(), (0.2, 0.4, 0.8), strict=False):
        assert "step 43 has waited" in record.getMessage()
        assert record.created - began[0] > 0.8 * least
    assert trained.waiting.get() == 0


@pytest.mark.parametrize(("after", "late"), [(30.0, 0.5), (0.0, 0.5)])
def test_in_time_or_switched_off_nothing_is_said(trained, caplog, after, late):
    with StallWarning(trained.waiting, after=after):
        trained.call(iter(slow_batches(lambda: time.sleep(late))), first_step=0, steps=4)
    assert "waited" not in caplog.text


class Looks:
    """Counts how often a watch looked."""

    def __init__(self):
        self.step, self.count = 0, 0

    def get(self):
        self.count += 1
        return self.step

    def wait_for_a_look(self):
        """Until one that began after this call is over."""
        seen, deadline = self.count, time.monotonic() + 300
        while self.count < seen + 3:
            assert time.monotonic() < deadline
            time.sleep(0.001)


def test_steps_that_each_wait_a_little_are_no_stall(caplog, monkeypatch):
    looks, clock = Looks(), [0.0]
    monkeypatch.setattr(stall, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
    with StallWarning(looks, after=0.08):
        for _ in range(8):
            looks.step += 1
            looks.wait_for_a_look()
            clock[0] += 0.05
            looks.wait_for_a_look()
        assert "waited" not in caplog.text
        clock[0] += 0.05
        looks.wait_for_a_look()
    assert f"step {looks.step} has waited" in caplog.text


def test_the_watch_ends_with_its_block():
    with StallWarning(WaitingStep(), after=1000.0) as watch:
        assert watch._thread.is_alive()
    assert not watch._thread.is_alive()
