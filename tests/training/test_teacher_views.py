"""Teachers with a larger input than the student's see the pictures, not the student's pixels."""

from __future__ import annotations

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from std_keras import teachers
from std_keras.config import TrainConfig, resolve
from std_keras.data import Shard, tfds_source, training_batches
from std_keras.data import load as load_data
from std_keras.data.records import RecordFile, RecordSource
from std_keras.errors import InputError, Interrupted
from std_keras.training import build, feed, stream, teacher_views, train
from std_keras.training.augmentation import create_augmentation
from std_keras.training.cached_predictions import open_cache
from std_keras.training.precompute import precompute
from std_keras.training.replay import replay
from tests.training.tiny import as_python

CLASSES = ("ant", "bee")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of 24x24 pixels whose class is a pattern of single pixels: squares of 8x8 pixels
    that are made from them are grey."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    rows, columns = np.indices((24, 24))
    for part, count in (("train", 20), ("val", 6)):
        for name in CLASSES:
            (root / part / name).mkdir(parents=True)
            pattern = (rows if name == "ant" else columns) % 2 * 160 + 48
            for i in range(count):
                level = rng.integers(-40, 40)
                pixels = np.clip(pattern[..., None] + level, 0, 255).repeat(3, -1).astype(np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def teacher(folder):
    """Tells rows from columns by differences of neighbours; 24x24 pixels."""
    inputs = keras.Input((24, 24, 3))
    kernel = np.zeros((2, 2, 3, 2), np.float32)
    kernel[0, 0], kernel[1, 0, :, 0], kernel[0, 1, :, 1] = 1.0, -1.0, -1.0
    edges = keras.layers.Conv2D(2, 2, use_bias=False)
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(edges(inputs)))
    model = keras.Model(inputs, keras.layers.Rescaling(0.05)(pooled))
    edges.set_weights([kernel])
    path = folder / "teacher.keras"
    model.save(path)
    return f"{path},input=byte"


@pytest.fixture(scope="module")
def settings(folder, teacher):
    def make(**changes):
        small = {
            "dataset": f"folder:{folder}",
            "image_size": 8,
            "model": "mixer_s16",
            "patch_size": 4,
            "width": 8,
            "depth": 1,
            "tokens": "spatial",
            "batch_size": 8,
            "epochs": 2,
            "log_every_steps": 1,
            "steps_per_call": 1,
            "distillation": "hard",
            "teacher": (teacher,),
            "augmentation": "crop_flip",
        }
        return TrainConfig(**{**small, **changes})

    return make


def lines(run, name):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    return [row[name] for row in rows if name in row]


def weights(run):
    return keras.models.load_model(run / "model.keras").get_weights()


def assert_same(run, expected):
    for own, other in zip(weights(run), weights(expected), strict=True):
        np.testing.assert_array_equal(own, other)
    assert lines(run, "loss/total") == lines(expected, "loss/total")


def stop_after(calls, folder):
    """Stops a run after some steps; while it reads pictures, its folder has no files yet."""
    count = iter(range(calls))
    return lambda: any(folder.rglob("*.json")) and next(count, None) is None


@pytest.fixture(scope="module")
def live(settings, tmp_path_factory):
    """A run with its teacher, without an interruption."""
    path = tmp_path_factory.mktemp("live") / "run"
    with as_python():
        train(settings(), model_dir=path)
    return path


def test_the_teacher_is_as_good_as_alone(live):
    assert set(lines(live, "teacher_0/accuracy")) == {1.0}
    assert json.loads((live / "examples.json").read_text())["teacher_views"] == [24]


def test_from_the_student_s_pixels_it_would_be_blind(settings, live, tmp_path):
    """A run of before views goes on as it began: with the student's pixels."""
    with as_python(), pytest.raises(Interrupted):
        train(settings(), model_dir=tmp_path, stop=stop_after(3, tmp_path))
    recorded = json.loads((tmp_path / "examples.json").read_text())
    del recorded["teacher_views"]
    (tmp_path / "examples.json").write_text(json.dumps(recorded))
    with as_python():
        train(settings(), model_dir=tmp_path)
    accuracies = lines(tmp_path, "teacher_0/accuracy")
    assert accuracies[:3] == [1.0] * 3
    assert np.mean(accuracies[3:]) < 0.8


def test_interrupted_and_continued_it_ends_with_the_same_bits(settings, live, tmp_path, caplog):
    with as_python():
        with caplog.at_level("INFO", "std_keras"), pytest.raises(Interrupted):
            train(settings(), model_dir=tmp_path, stop=stop_after(3, tmp_path))
        assert "sees 24x24 pixels of the same crop, the student 8x8" in caplog.text
        assert "views of 40 images at 24x24 are held in memory (0.1 MiB)" in caplog.text
        train(settings(), model_dir=tmp_path)
    assert_same(tmp_path, live)


def test_cached_predictions_are_those_of_the_views(settings, live, tmp_path, monkeypatch, caplog):
    wanted = settings(teacher_cache=str(tmp_path / "cached"))
    with as_python(), pytest.raises(Interrupted):
        precompute(wanted, stop=stop_after(4, tmp_path))
    with caplog.at_level("INFO", "std_keras"), as_python():
        assert precompute(wanted)["computed"] == 80
    assert "sees 24x24 pixels of the same crop" in caplog.text
    monkeypatch.setattr(teachers, "load", None)
    seen = []
    usual = stream.batches
    monkeypatch.setattr(
        stream, "batches", lambda *a, **k: seen.append(k.get("view_sizes", ())) or usual(*a, **k)
    )
    with as_python():
        train(wanted, model_dir=tmp_path / "run")
    assert_same(tmp_path / "run", live)
    assert set(seen) == {()}, "views were made that nobody looks at"


def test_a_view_is_part_of_a_teacher_s_identity(settings, tmp_path):
    """Without a larger view the identity is the one of before."""
    model_input = keras.Input((None, None, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(model_input)
    keras.Model(model_input, pooled[:, :2]).save(tmp_path / "any.keras")
    found = {}
    for options in ("", ",size=8", ",size=16", ",size=64"):
        text = f"{tmp_path / 'any.keras'},input=byte{options}"
        config = settings(teacher=(text,), teacher_cache=str(tmp_path / f"cached{options}"))
        data = build.load_data(config)
        config = resolve(config, image_size=8, horizontal_flip=True)
        sizes = teacher_views.view_sizes(config, data)
        open_cache(config, data, view_sizes=sizes).begin()
        (facts,) = (tmp_path / f"cached{options}").glob("*/*/teacher.json")
        found[options] = json.loads(facts.read_text()).get("teacher view")
    assert found == {"": None, ",size=8": None, ",size=16": "16", ",size=64": "24"}


def test_pictures_that_are_no_larger_change_nothing(settings, folder, teacher, tmp_path):
    """A student of the pictures' size: the teacher gets the student's images, as ever."""
    config = settings(image_size=24, patch_size=8)
    data = build.load_data(config)
    assert teacher_views.view_sizes(config, data) == (24,)
    assert teacher_views.larger((24,), data) == ()
    (loaded,) = build.load_teachers(
        config.distillation, data, performance=config.performance, view_sizes=(24,)
    )
    assert loaded.view == "images"
    grown = settings(image_size=32, patch_size=8)
    assert teacher_views.view_sizes(grown, build.load_data(grown)) == (32,)
    assert teacher_views.view_sizes(settings(distillation="none"), data) == ()


def test_the_stream_is_the_documented_one(settings):
    """The student's batches are those of `training_batches` without any view."""
    config = settings(augmentation="deit", auto_augment="none", random_erasing=0.0)
    data = build.load_data(config)
    config = resolve(config, image_size=8, horizontal_flip=True)
    recipe = create_augmentation(config.augmentation, data, batch_size=8)
    plain = training_batches(
        data.train,
        batch_size=8,
        num_classes=2,
        data_seed=0,
        augmentation=recipe,
        label_smoothing=config.augmentation.label_smoothing,
        repeats=config.augmentation.repeated_augmentation,
    )
    both = stream.training_stream(config, data, shard=Shard(), view_sizes=(24,))
    for own, other in zip(both.take(3), plain.take(3), strict=True):
        np.testing.assert_array_equal(own["images"], other["images"])
        np.testing.assert_array_equal(own["targets"], other["targets"])


def test_two_devices_see_the_same(settings, live, tmp_path):
    config = resolve(settings(), image_size=8, horizontal_flip=True)
    data = build.load_data(config)
    whole = feed.one_batch(config, data, step=2, view_sizes=(24,))
    shard = Shard(local_replicas=2, replicas=2)
    parts = stream.training_stream(config, data, start_step=2, shard=shard, view_sizes=(24,))
    parts = list(parts.take(2).as_numpy_iterator())
    for name, values in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), values)


def test_what_does_not_fit_is_decoded_again_and_again(settings, live, tmp_path, caplog):
    data = load_data(settings().data.dataset, image_size=8)
    held = sum(part.bytes for part in (data.train, data.test))
    with caplog.at_level("INFO", "std_keras"), as_python():
        train(settings(cache_gb=(held + 40 * 24 * 24 * 3 - 1) / 2**30), model_dir=tmp_path)
    assert "are decoded again and again; cache_gb=" in caplog.text
    assert_same(tmp_path, live)


def test_a_replay_has_the_views(settings, live, tmp_path):
    with as_python():
        with pytest.raises(Interrupted):
            train(
                settings(checkpoint_every_steps=2), model_dir=tmp_path, stop=stop_after(2, tmp_path)
            )
        report = replay(tmp_path, step=5)
    assert report["finite"]
    expected = lines(live, "loss/total")
    assert [report["steps"][s]["loss/total"] for s in (3, 4, 5)] == expected[2:5]
    assert {m["teacher_0/accuracy"] for m in report["steps"].values()} == {1.0}


def test_each_teacher_has_its_own_view(settings, folder):
    """Three of different sizes: predictions are those of each one alone on its view."""
    config = settings()
    data = build.load_data(config)
    own = config.distillation.teachers[0]
    config = settings(teacher=(own, f"{own},site=both", own))
    config = resolve(config, image_size=8, horizontal_flip=True)
    loaded = build.load_teachers(
        config.distillation, data, performance=config.performance, view_sizes=(24, 16, 8)
    )
    batch = feed.one_batch(config, data, step=0, view_sizes=(16, 24))
    assert [t.view for t in loaded] == ["images_24", "images_16", "images"]
    form = teachers.predictions.PredictionFormat(num_classes=2, soft=True)
    said = teachers.predictions.predict(loaded, batch, form)["teacher_logits"]
    for index, name in enumerate(("images_24", "images_16", "images")):
        pixels = tf.cast(batch[name], tf.float32)
        if name != "images_24":
            pixels = tf.image.resize(pixels, (24, 24), "bicubic", antialias=True)
        alone = dataclasses.replace(loaded[0], view="images").classify(
            tf.clip_by_value(pixels, 0.0, 255.0)
        )
        np.testing.assert_allclose(said[:, index], alone, rtol=1e-5, atol=1e-5)


def test_too_large_for_memory_is_one_sentence(tmp_path):
    """Prepared sets hold their encoded pictures for views."""
    source = RecordSource(
        [RecordFile("some.tfrecord", 9, 3 * 2**30)], lambda record: record, image_shape=(8, 8, 3)
    )
    with pytest.raises(InputError, match=r"cache_gb=1: .* take 3 GiB as they are"):
        tfds_source._pictures(source, name="some", cache_bytes=2**30)
