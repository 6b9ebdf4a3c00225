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


class Looks:
    """Counts how often a watch looked: at a number, or at the step of a trainer."""

    def __init__(self, waiting=None):
        self.step, self.count, self.waiting = 0, 0, waiting

    def get(self):
        self.count += 1
        return self.step if self.waiting is None else self.waiting.get()

    def wait_for_a_look(self):
        """Until one that began after this call is over."""
        seen, deadline = self.count, time.monotonic() + 300
        while self.count < seen + 3:
            assert time.monotonic() < deadline
            time.sleep(0.001)


@pytest.fixture
def clock(monkeypatch):
    """The watch's own; only a test moves it."""
    seconds = [0.0]
    monkeypatch.setattr(stall, "time", types.SimpleNamespace(monotonic=lambda: seconds[0]))
    return seconds


def test_the_late_step_is_named_again_and_again_with_doubled_patience(trained, caplog, clock):
    looks, said, held = Looks(trained.waiting), [], []

    def hold():
        """While the watch's clock goes on by 8 s in all."""
        began = time.monotonic()
        looks.wait_for_a_look()
        for _ in range(80):
            clock[0] += 0.1
            looks.wait_for_a_look()
            said.append(caplog.text.count("step 43 has waited"))
        held.append(time.monotonic() - began)

    with StallWarning(looks, after=0.16):
        result = trained.call(iter(slow_batches(hold)), first_step=40, steps=4)
    assert result.steps == 4
    assert result.wait_seconds > 0.9 * held[0]  # By another clock.
    # After 0.16, 0.32, 0.64, 1.28, 2.56 and 5.12 s.
    assert [said.index(times) + 1 for times in range(1, 7)] == [2, 4, 7, 13, 26, 52]
    assert said[-1] == 6
    assert caplog.text.count("has waited") == 6
    assert trained.waiting.get() == 0


def test_in_time_nothing_is_said(trained, caplog, clock):
    looks = Looks(trained.waiting)

    def hold():
        clock[0] += 0.07
        looks.wait_for_a_look()

    with StallWarning(looks, after=0.08):
        trained.call(iter(slow_batches(hold)), first_step=0, steps=4)
    assert "waited" not in caplog.text


def test_switched_off_nobody_looks(trained):
    with StallWarning(trained.waiting, after=0.0) as watch:
        assert watch._thread is None


def test_steps_that_each_wait_a_little_are_no_stall(caplog, clock):
    looks = Looks()
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
