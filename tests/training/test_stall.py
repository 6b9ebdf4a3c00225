"""A step that waits for data says so while it waits."""

from __future__ import annotations

import time

import keras
import pytest
import tensorflow as tf

from std_keras import models
from std_keras.training.stall import StallWarning, WaitingStep
from tests.training.tiny import make_state, task_of, trainer


def slow_batches(seconds):
    """Batches of 8 digits; the third is late."""

    def produce():
        for i in range(4):
            if i == 2:
                time.sleep(seconds)
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
    made.call(iter(slow_batches(0)), first_step=0, steps=1)  # Tracing is over.
    return made


def test_the_late_step_is_named_again_and_again_with_doubled_patience(trained, caplog):
    with StallWarning(trained.waiting, after=0.2):
        result = trained.call(iter(slow_batches(1.2)), first_step=40, steps=4)
    assert result.steps == 4
    assert result.wait_seconds > 1
    warnings = [r.getMessage() for r in caplog.records if "waited" in r.getMessage()]
    assert 2 <= len(warnings) <= 3  # After 0.2, 0.4 and 0.8 s.
    assert all("step 43 has waited" in line for line in warnings)
    assert trained.waiting.get() == 0


@pytest.mark.parametrize(("after", "late"), [(30.0, 0.5), (0.0, 0.5)])
def test_in_time_or_switched_off_nothing_is_said(trained, caplog, after, late):
    with StallWarning(trained.waiting, after=after):
        trained.call(iter(slow_batches(late)), first_step=0, steps=4)
    assert "waited" not in caplog.text


def test_steps_that_each_wait_a_little_are_no_stall(caplog):
    waiting = WaitingStep()
    with StallWarning(waiting, after=0.3):
        for step in range(1, 9):
            waiting.set(tf.constant(step, tf.int64))
            time.sleep(0.08)
    assert "waited" not in caplog.text


def test_the_watch_ends_with_its_block():
    with StallWarning(WaitingStep(), after=1000.0) as watch:
        assert watch._thread.is_alive()
    assert not watch._thread.is_alive()
