"""What a run shows: metrics.jsonl and TensorBoard's event files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from std_keras.config import TrainConfig
from std_keras.runs.run_directory import RunDirectory
from std_keras.training.metric_writer import MetricWriter, image_grid
from tests.training.tiny import student


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path)


def lines(run):
    return [json.loads(line) for line in run.metrics_file.read_text().splitlines()]


def events(tensorboard, split):
    sizes = {"tensors": 0, "images": 0, "histograms": 0}
    accumulator = EventAccumulator(str(tensorboard / split), size_guidance=sizes)
    accumulator.Reload()
    return accumulator


def scalars(tensorboard, split):
    """(name, step, value) of all scalars in the event files."""
    accumulator = events(tensorboard, split)
    found = set()
    for name in accumulator.Tags()["tensors"]:
        for event in accumulator.Tensors(name):
            if event.tensor_proto.dtype == tf.float32.as_datatype_enum:
                value = tf.make_ndarray(event.tensor_proto)
                if value.ndim == 0:
                    found.add((name, event.step, float(value)))
    return found


def test_the_same_scalars_in_both_places(run):
    watch = MetricWriter(run, step=0)
    watch.scalars("train", step=5, epoch=0.33333, values={"loss/total": 2.5, "norm/gradient": 0.5})
    watch.scalars("eval", step=10, epoch=1.0, values={"raw/average/top1": 0.25})
    watch.scalars("train", step=10, epoch=2 / 3, values={"loss/total": 1.5})
    watch.close()
    assert lines(run) == [
        {"step": 5, "epoch": 0.3333, "split": "train", "loss/total": 2.5, "norm/gradient": 0.5},
        {"step": 10, "epoch": 1.0, "split": "eval", "raw/average/top1": 0.25},
        {"step": 10, "epoch": 0.6667, "split": "train", "loss/total": 1.5},
    ]
    assert scalars(run.tensorboard, "train") == {
        ("loss/total", 5, 2.5),
        ("norm/gradient", 5, 0.5),
        ("loss/total", 10, 1.5),
    }
    assert scalars(run.tensorboard, "eval") == {("raw/average/top1", 10, 0.25)}


def test_figures_can_be_read_while_the_run_goes_on(run):
    watch = MetricWriter(run, step=0)
    watch.scalars("train", step=1, epoch=0.1, values={"loss/total": 3.0})
    assert [line["step"] for line in lines(run)] == [1]
    assert scalars(run.tensorboard, "train") == {("loss/total", 1, 3.0)}
    watch.close()


def test_pictures_text_and_histograms(run):
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 1), dtype=np.uint8)
    watch = MetricWriter(run, step=0)
    watch.config(TrainConfig(epochs=7))
    watch.images(images, step=0)
    watch.tokens(student(["both"]), step=3)
    watch.tokens(student(tokens="deit"), step=3)
    watch.close()
    found = events(run.tensorboard, "train")
    tags = set(found.Tags()["tensors"])
    assert {"config", "augmented"} <= tags
    text = tf.make_ndarray(found.Tensors("config")[0].tensor_proto).item().decode()
    assert '"epochs": 7' in text
    picture = tf.make_ndarray(found.Tensors("augmented")[0].tensor_proto)
    shown = tf.io.decode_png(picture[2]).numpy()
    np.testing.assert_array_equal(shown, image_grid(images))
    histograms = {tag for tag in tags if tag.endswith("token")}
    assert histograms == {
        "tokens_0_intermediate/spatial_token",
        "tokens_0_intermediate/channel_token",
        "tokens_0_last/spatial_token",
        "tokens_0_last/channel_token",
        "distillation_token/token",
    }


def test_a_worker_that_is_not_the_chief_writes_nothing(run):
    watch = MetricWriter(run, step=0, enabled=False)
    watch.scalars("train", step=1, epoch=0.1, values={"loss/total": 3.0})
    watch.config(TrainConfig())
    watch.images(np.zeros((1, 8, 8, 1), np.uint8), step=0)
    watch.tokens(student(), step=0)
    watch.start_profile()
    watch.close()
    assert list(run.path.iterdir()) == []


@pytest.mark.parametrize("step", [0, 2, 9])
def test_later_and_half_lines_are_forgotten(run, step):
    whole = [{"step": s, "split": "train", "loss/total": float(s)} for s in (1, 2, 2, 3, 9)]
    text = "".join(json.dumps(line) + "\n" for line in whole)
    junk = '[1, 2]\n{"no": "step"}\n{"step": null}\n'
    run.metrics_file.write_text(text + junk + '{"step": 2, "loss/to')
    watch = MetricWriter(run, step=step)
    watch.scalars("train", step=step + 1, epoch=0.0, values={"loss/total": 7.0})
    watch.close()
    kept = [line for line in whole if line["step"] <= step]
    assert lines(run)[:-1] == kept
    assert lines(run)[-1]["step"] == step + 1


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 64, 70])
@pytest.mark.parametrize("channels", [1, 3])
def test_image_grid_is_the_loop(count, channels):
    images = np.random.default_rng(1).uniform(-20, 280, (count, 4, 6, channels))
    shown = min(count, 64)
    columns = next(n for n in range(1, 99) if n * n >= shown)
    rows = -(-shown // columns)
    expected = np.zeros((rows * 4, columns * 6, channels), np.uint8)
    for index in range(shown):
        row, column = divmod(index, columns)
        pixels = np.minimum(np.maximum(images[index], 0), 255).astype(np.uint8)
        expected[row * 4 : row * 4 + 4, column * 6 : column * 6 + 6] = pixels
    grid = image_grid(images)
    assert grid.dtype == np.uint8
    np.testing.assert_array_equal(grid, expected)


def test_a_profile_is_recorded_once(run):
    watch = MetricWriter(run, step=0)
    watch.stop_profile()  # Without a start it does nothing.
    watch.start_profile()
    watch.start_profile()
    tf.linalg.matmul(tf.ones((4, 4)), tf.ones((4, 4)))
    watch.close()
    assert list((run.tensorboard / "train").rglob("*.xplane.pb"))


def steps_of(tensorboard, split, tag):
    """In order: files that were begun in one second are read by a counter's digits, 10 before 9."""
    return sorted(event.step for event in events(tensorboard, split).Tensors(tag))


def watched(run, *, step, until):
    """A process that begins after `step` and is killed after `until`."""
    watch = MetricWriter(run, step=step)
    if not step:
        watch.config(TrainConfig())
    watch.images(np.zeros((2, 8, 8, 3)), step=step)
    for done in range(step + 1, until + 1):
        watch.scalars("train", step=done, epoch=done, values={"loss": float(done)})
        watch.scalars("eval", step=done, epoch=done, values={"top1": float(done)})
    return watch


@pytest.mark.parametrize("folder", ["run", "lr=[1e-3] run"])
def test_steps_that_are_repeated_after_a_kill_are_there_once(tmp_path, folder):
    run = RunDirectory(tmp_path / folder)
    run.prepare()
    watched(run, step=0, until=5)  # Killed before its first checkpoint.
    watched(run, step=0, until=7)  # Checkpoint after 4.
    for file in run.tensorboard.glob("*/events*"):
        with open(file, "ab") as part:
            part.write(b"\x18\0\0\0half a record")
    watched(run, step=4, until=6)
    watched(run, step=4, until=8).close()
    for split, tag in (("train", "loss"), ("eval", "top1")):
        assert steps_of(run.tensorboard, split, tag) == list(range(1, 9))
    assert steps_of(run.tensorboard, "train", "augmented") == [0, 4]
    assert len(events(run.tensorboard, "train").Tensors("config")) == 1
    run.release()
