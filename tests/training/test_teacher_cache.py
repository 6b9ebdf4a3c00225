"""Training with stored teacher predictions is training with the teachers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras import teachers
from std_keras.config import resolve
from std_keras.data import Shard, folder_content
from std_keras.errors import InputError, Interrupted
from std_keras.teachers import cache as cache_module
from std_keras.teachers.predictions import PredictionFormat
from std_keras.training import build, stream, train
from std_keras.training.cached_predictions import CachedPredictions, open_cache
from std_keras.training.precompute import precompute
from tests.training.killed import SCRIPT, train_and_kill
from tests.training.tiny import (
    CLASSES,
    as_python,
    batch,
    config,
    feed,
    linear_teacher,
    make_state,
    randomize,
    student,
    task_of,
    teacher,
    trainer,
    values,
)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Two steps of 32 views: an epoch of three steps has a chunk of two and a chunk of one."""
    monkeypatch.setattr(cache_module, "_VIEWS_PER_CHUNK", 64)


@pytest.fixture
def no_teachers(monkeypatch):
    def load(*_, **__):
        raise AssertionError("a teacher was loaded")

    monkeypatch.setattr(teachers, "load", load)


@pytest.fixture(scope="module")
def cached_config(teacher_run, tmp_path_factory):
    """Two teachers, one of them at both sites, mixup and CutMix, accumulation."""
    other = tmp_path_factory.mktemp("other") / "model.keras"
    model = keras.models.load_model(teacher_run / "model.keras")
    model.set_weights([0.5 * w for w in model.get_weights()])
    model.save(other)
    return config(
        distillation="hard",
        teacher=(str(teacher_run), f"{other},site=both,input=byte"),
        augmentation="deit",
        auto_augment="none",
        random_erasing=0.0,
        accumulation_steps=2,
        learning_rate=0.01,
        log_every_steps=1,
    )


@pytest.fixture(scope="module")
def simple_config(teacher_run):
    """One teacher; crops only, which cost no compilation."""
    return config(
        depth=1,
        tokens="spatial",
        distillation="hard",
        teacher=(str(teacher_run),),
        learning_rate=0.01,
        log_every_steps=1,
        ema_decay=0.5,
    )


@pytest.fixture(scope="module")
def simple_cache(simple_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("simple") / "cached"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_module, "_VIEWS_PER_CHUNK", 64)
        with as_python():
            precompute(filled(simple_config, folder))
    return folder


def filled(config, folder, **changes):
    return config.replace(teacher_cache=str(folder), **changes)


def weights(run):
    return keras.models.load_model(run / "model.keras").get_weights()


def assert_same_training(run, expected):
    for own, other in zip(weights(run), weights(expected), strict=True):
        np.testing.assert_array_equal(own, other)
    lines = [
        [json.loads(line) for line in (path / "metrics.jsonl").open()] for path in (run, expected)
    ]
    for own, other in zip(*lines, strict=True):
        for name in other.keys() - {"images_per_second", "data_wait"}:
            assert own[name] == other[name], (own["step"], name)


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def plain_run(cached_config, tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "run"
    with as_python():
        train(cached_config, model_dir=path)
    return path


@pytest.fixture(scope="module")
def cache_dir(cached_config, plain_run, tmp_path_factory):
    """Written while training; the run that did so has the weights of one without a cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_module, "_VIEWS_PER_CHUNK", 64)
        with as_python():
            train(filled(cached_config, folder / "cached"), model_dir=folder / "run")
    assert_same_training(folder / "run", plain_run)
    return folder / "cached"


def test_a_full_cache_gives_the_same_weights_without_any_teacher(
    cached_config, cache_dir, plain_run, no_teachers, tmp_path, caplog
):
    before = tree(cache_dir)
    assert len([n for n in before if n.endswith(".labels")]) == 2 * 2 * 2  # teacher, epoch, chunk
    with caplog.at_level("INFO", "std_keras"), as_python():
        train(filled(cached_config, cache_dir, teacher_cache_mode="read"), model_dir=tmp_path)
    assert_same_training(tmp_path, plain_run)
    assert tree(cache_dir) == before
    assert "192 of 192 views are cached (14.0 bytes each); no teacher is loaded" in caplog.text


def test_precomputed_files_are_those_of_training(cached_config, cache_dir, tmp_path):
    class StopAfter:
        calls = 4

        def __call__(self):
            self.calls -= 1
            return self.calls < 0

    wanted = filled(cached_config, tmp_path / "cached")
    with as_python():
        with pytest.raises(Interrupted, match="96 views were stored"):
            precompute(wanted, stop=StopAfter())
        done = precompute(wanted)
    assert done["views"] == 192
    assert done["computed"] == 96
    assert tree(tmp_path / "cached") == tree(cache_dir)


def test_views_are_stored_once_and_read_in_the_same_run(simple_config, tmp_path, monkeypatch):
    """Soft, the two largest logits: the second epoch reads what the first one stored; a run that
    reads everything ends with the same weights."""
    changes = {"distillation": "soft", "augmentation_views": 1, "teacher_cache_top_k": 2}
    soft = filled(simple_config, tmp_path / "cached", **changes)
    with as_python():
        train(soft, model_dir=tmp_path / "fill")
    files = {Path(name).suffix for name in tree(tmp_path / "cached")}
    assert files == {".json", ".labels", ".logits_top2"}
    assert not list((tmp_path / "cached").glob("*/*/epoch_00001"))
    monkeypatch.setattr(teachers, "load", None)
    with as_python():
        train(soft, model_dir=tmp_path / "read")
    assert_same_training(tmp_path / "read", tmp_path / "fill")
    with pytest.raises(InputError, match="augmentation_views=1, now 0"):
        train(soft.replace(augmentation_views=0), model_dir=tmp_path / "fill")


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"data_seed": 7}, "data_seed=0 there, 7 here"),
        ({"cutmix_alpha": 0.5}, "augmentation mixing.cutmix_alpha=1.0 there, 0.5 here"),
        ({"mixed_precision": True}, "teacher precision=(none) there, bfloat16 here"),
        ({"distillation": "soft"}, ""),  # The same teachers and views, but no logits.
    ],
)
def test_other_predictions_are_refused(cached_config, cache_dir, tmp_path, changes, difference):
    other = filled(cached_config, cache_dir, teacher_cache_mode="read", **changes)
    with pytest.raises(InputError, match="needs all of them") as info:
        train(other, model_dir=tmp_path)
    assert difference in str(info.value)
    assert "0 of 192 views" in str(info.value)


def test_other_weights_are_refused_by_name(cached_config, cache_dir, tmp_path):
    model = keras.models.load_model(Path(cached_config.distillation.teachers[0]) / "model.keras")
    model.set_weights([2.0 * w for w in model.get_weights()])
    model.save(tmp_path / "model.keras")
    other = filled(cached_config, cache_dir, teacher_cache_mode="read")
    second = cached_config.distillation.teachers[1]
    other = other.replace(teacher=(f"{tmp_path / 'model.keras'},input=byte", second))
    with pytest.raises(InputError, match=r"teacher weights=\w{16}\.\.\. there, \w{16}\.\.\. here"):
        train(other, model_dir=tmp_path / "run")


def opened(config, *, shard=None):
    dataset = build.load_data(config)
    config = resolve(config, image_size=8, horizontal_flip=False)
    found = open_cache(config, dataset, view_sizes=(8,) * len(config.distillation.teachers))
    assert found is not None
    return CachedPredictions(found, period=0, total_steps=6, shard=shard or Shard())


def test_other_pictures_are_refused(cached_config, cache_dir, monkeypatch):
    """The same number of images, classes and pixels, but the images changed."""
    levels = stream.picture_levels
    monkeypatch.setattr(stream, "picture_levels", lambda *a: [v + 2.0 for v in levels(*a)])
    with pytest.raises(InputError, match="was made from other images"):
        opened(filled(cached_config, cache_dir))


def test_pictures_that_were_replaced_in_their_place_are_refused(
    cached_config, cache_dir, tmp_path, monkeypatch
):
    """The pictures of the first step may be the same."""
    asked = filled(cached_config, shutil.copytree(cache_dir, tmp_path / "cache"))
    (file,) = (tmp_path / "cache").glob("*/stream.json")
    monkeypatch.setattr(folder_content, "contents", lambda name: "these")
    opened(asked)  # A folder of before knows no more of them.
    file.write_text(json.dumps({**json.loads(file.read_text()), "picture_contents": "these"}))
    opened(asked)
    monkeypatch.setattr(folder_content, "contents", lambda name: "others")
    with pytest.raises(InputError, match="was made from other images"):
        opened(asked)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-40] ^= 4
    path.write_bytes(content)


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-20])


def from_another_epoch(path):
    path.write_bytes((path.parent.parent / "epoch_00000" / path.name).read_bytes())


@pytest.mark.parametrize("damage", [flip_a_bit, cut_off, from_another_epoch])
def test_a_damaged_file_is_refused_by_name(simple_config, simple_cache, tmp_path, damage):
    folder = tmp_path / "cached"
    subprocess.run(["cp", "-r", str(simple_cache), str(folder)], check=True)
    (victim,) = folder.glob("*/*/epoch_00001/chunk_00001.labels")
    damage(victim)
    reading = filled(simple_config, folder)
    with pytest.raises(InputError, match="damaged or holds other predictions") as info:
        if damage is flip_a_bit:
            with as_python():
                train(reading, model_dir=tmp_path / "run")
        predictions = opened(reading)
        predictions.prepare(0, read_only=True)
        stretch = predictions.stretch(0)
        try:
            list(predictions.predictions(0, stretch))
        except tf.errors.OpError:
            predictions.find_damage(0, stretch)
    assert str(victim) in str(info.value)
    victim.unlink()
    with as_python():
        precompute(reading)
    assert tree(folder) == tree(simple_cache)


def test_every_replica_gets_its_own_rows(cached_config, cache_dir):
    reading = filled(cached_config, cache_dir)
    whole = opened(reading)
    expected = list(whole.predictions(1, whole.stretch(1)).as_numpy_iterator())
    assert len(expected) == 5
    for shard in (Shard(0, 2, 2), Shard(1, 1, 2)):
        part = opened(reading, shard=shard)
        found = list(part.predictions(1, part.stretch(1)).as_numpy_iterator())
        assert len(found) == 5 * shard.local_replicas
        for step, predictions in enumerate(expected):
            for name, wanted in predictions.items():
                begin = step * shard.local_replicas
                own = np.concatenate([f[name] for f in found[begin:][: shard.local_replicas]])
                np.testing.assert_array_equal(own, wanted[16 * shard.first_replica :][: len(own)])


def test_one_worker_of_a_cluster_reads_but_does_not_fill(cached_config, cache_dir, tmp_path):
    worker = Shard(first_replica=1, local_replicas=1, replicas=2)
    assert opened(filled(cached_config, cache_dir), shard=worker).prepare(0, read_only=False)
    empty = opened(filled(cached_config, tmp_path), shard=worker)
    with pytest.raises(InputError, match="a cluster needs all of them"):
        empty.prepare(0, read_only=False)


def test_killed_while_filling_and_continued(simple_config, simple_cache, tmp_path):
    """kill -9 after the first step of the second epoch's first chunk."""
    run, folder = tmp_path / "run", tmp_path / "cached"
    with as_python():
        train(simple_config, model_dir=tmp_path / "plain")
    wanted = filled(simple_config, folder, checkpoint_every_steps=1, steps_per_call=1)
    script = (
        "import runpy, sys; from std_keras.teachers import cache; cache._VIEWS_PER_CHUNK = 64;"
        "import tensorflow as tf; tf.config.run_functions_eagerly(True);"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    train_and_kill(
        wanted,
        folder=tmp_path / "wanted",
        run=run,
        after_step=4,
        python=("-c", script, str(SCRIPT)),
    )
    there = tree(folder)
    assert sum(name.endswith(".labels") for name in there) < 4
    assert any(name.endswith("-begun") for name in there), "nothing of the open chunk was kept"

    with as_python():
        train(wanted, model_dir=run)
    for own, other in zip(weights(run), weights(tmp_path / "plain"), strict=True):
        np.testing.assert_array_equal(own, other)
    assert tree(folder) == tree(simple_cache)


def test_top_k_must_fit(cached_config, tmp_path):
    with pytest.raises(InputError, match="teacher_cache_top_k=11 is more than the 10 classes"):
        opened(filled(cached_config, tmp_path, distillation="soft", teacher_cache_top_k=11))
    with pytest.raises(InputError, match="leave it out"):
        config(teacher_cache_top_k=2)
    with pytest.raises(InputError, match="teacher_cache_mode=read needs a folder"):
        config(teacher_cache_mode="read")


def test_a_file_is_not_a_folder(cached_config, tmp_path):
    (tmp_path / "cached").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        opened(filled(cached_config, tmp_path / "cached"))


def test_predictions_in_the_batch_give_the_compiled_step_of_teachers():
    """XLA compiles the step with soft top-k predictions as it does with a teacher."""
    form = PredictionFormat(num_classes=CLASSES, soft=True, half=True, top_k=3)
    some, follows = batch(8), linear_teacher(0)
    encoded = form.encode(follows.logits(tf.constant(some["images"]))[:, tf.newaxis])
    predicted = {**some, **{name: value.numpy() for name, value in encoded.items()}}
    ends = []
    for jit, given, used in ((False, some, [follows]), (True, predicted, [])):
        state = make_state(randomize(student(depth=1)))
        made = trainer(
            state,
            task=task_of(state.model, 1, kind="soft", temperature=2.0),
            teachers=used,
            batch_size=8,
            jit_compile=jit,
        )
        made.task, made.record = dataclasses.replace(made.task, prediction_format=form), True
        with contextlib.nullcontext() if jit else as_python():
            result = made.call(feed(tf.distribute.get_strategy(), [given]), first_step=0, steps=1)
        assert set(result.predictions) == (set() if jit else set(encoded))
        ends.append(values(state.model.trainable_variables))
    for own, other in zip(*ends, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-5)


def test_a_call_that_ends_early_returns_the_predictions_until_then():
    """The second of three steps has a teacher that returns NaN."""
    usual = linear_teacher(0)

    def network(images):
        broken = tf.reduce_all(images == 7.0, axis=(1, 2, 3))
        return tf.where(broken[:, tf.newaxis], float("nan"), usual.network(images))

    state = make_state(randomize(student(depth=1)))
    made = trainer(state, teachers=[teacher(network)], batch_size=8)
    made.record = True
    batches = [batch(8, seed=i) for i in range(3)]
    batches[1]["images"][:] = 7
    result = made.call(feed(tf.distribute.get_strategy(), batches), first_step=0, steps=3)
    assert (result.steps, result.finite) == (2, False)
    classes = result.predictions["teacher_class"]
    expected = usual.logits(tf.constant(batches[0]["images"])).numpy().argmax(-1)
    np.testing.assert_array_equal(classes[0, :, 0], expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"mine_weight": 0.1},
        {"mine_weight": 0.1, "mine_schedule": "epoch", "mine_samples": 20},
        {"propagate_tokens": True},
        {"distillation": "soft", "confidence": "entropy", "confidence_scope": "batch"},
        {"jit_compile": True, "ema_decay": 0.5, "stochastic_depth": 0.3},
    ],
)
def test_every_arrangement_can_do_without_its_teachers(
    cached_config, teacher_run, tmp_path, monkeypatch, changes
):
    both = tuple(
        f"{source.partition(',')[0]},site=both" for source in cached_config.distillation.teachers
    )
    both = (both[0], f"{both[1]},input=byte")
    own = cached_config.replace(teacher=both, **changes)
    soft = own.distillation.kind == "soft"
    first = filled(own, tmp_path / "cached") if soft else own  # A soft cache rounds.
    train(first, model_dir=tmp_path / "teachers")
    precompute(filled(own, tmp_path / "cached"))
    monkeypatch.setattr(teachers, "load", None)
    train(filled(own, tmp_path / "cached"), model_dir=tmp_path / "cache")
    assert_same_training(tmp_path / "cache", tmp_path / "teachers")
