"""Teachers that run on the host: predictions come with the batch, and are the same everywhere."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from std_keras.data import Shard
from std_keras.errors import InputError, Interrupted
from std_keras.teachers.predictions import HOST_LOGITS, LOGITS, PredictionFormat, predict
from std_keras.training import assembly, train
from std_keras.training.host_predictions import with_host_predictions
from std_keras.training.precompute import precompute
from tests.runtimes.networks import write_linear
from tests.training.test_interruption import StopAfter, assert_same_end
from tests.training.tiny import CLASSES, IMAGE_SHAPE, as_python, config, linear_teacher


def hosted(seed, **options):
    """A teacher that TensorFlow cannot look into."""
    known = linear_teacher(seed)

    def predicted(images):
        return known.network(tf.constant(images)).numpy()

    def network(images):
        outputs = tf.numpy_function(predicted, [images], tf.float32, stateful=False)
        return tf.ensure_shape(outputs, (images.shape[0], CLASSES))

    return dataclasses.replace(known, network=network, on_host=True, compilable=False, **options)


def images_of(count, seed=0, shape=IMAGE_SHAPE):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_the_same_on_any_number_of_replicas(replicas):
    whole = images_of(3 * 8).reshape(3, 8, *IMAGE_SHAPE)
    parts = {"images": whole.reshape(3 * replicas, 8 // replicas, *IMAGE_SHAPE)}
    teachers = [hosted(0), linear_teacher(1), hosted(2)]
    data = with_host_predictions(
        tf.data.Dataset.from_tensor_slices(parts), teachers, local_replicas=replicas
    )
    found = list(data.as_numpy_iterator())
    assert [set(batch) for batch in found] == [{"images", HOST_LOGITS}] * (3 * replicas)
    logits = np.stack([batch[HOST_LOGITS] for batch in found]).reshape(3, 8, 2, CLASSES)
    for step in range(3):
        for place, seed in enumerate((0, 2)):
            wanted = linear_teacher(seed).logits(whole[step])
            np.testing.assert_array_equal(logits[step, :, place], wanted)


def test_without_such_teachers_nothing_changes():
    data = tf.data.Dataset.from_tensor_slices({"images": images_of(4)[None]})
    assert with_host_predictions(data, [linear_teacher(0)], local_replicas=1) is data


def test_views_of_the_host_stay_there():
    batch = {"images": images_of(4), "images_16": images_of(4, shape=(16, 16, 1))}
    data = tf.data.Dataset.from_tensors(batch)
    own = hosted(0, view="images_16")
    (found,) = with_host_predictions(data, [own], local_replicas=1).as_numpy_iterator()
    assert set(found) == {"images", HOST_LOGITS}
    np.testing.assert_array_equal(found[HOST_LOGITS][:, 0], own.logits(batch["images_16"]))
    other = dataclasses.replace(linear_teacher(1), view="images_16")
    both = with_host_predictions(data, [own, other], local_replicas=1)
    assert set(both.element_spec) == {"images", "images_16", HOST_LOGITS}


def test_predictions_keep_the_order_of_the_teachers():
    images = images_of(6)
    form = PredictionFormat(num_classes=CLASSES, soft=True)
    device = [linear_teacher(seed) for seed in range(3)]
    wanted = predict(device, {"images": images}, form)
    mixed = [hosted(0), device[1], hosted(2)]
    ready = tf.stack([device[0].logits(images), device[2].logits(images)], axis=1)
    for batch in ({"images": images}, {"images": images, HOST_LOGITS: ready}):
        found = predict(mixed, batch, form)
        np.testing.assert_array_equal(found[LOGITS], wanted[LOGITS])


def test_a_cluster_needs_a_cache():
    part = Shard(first_replica=0, local_replicas=1, replicas=2)
    with pytest.raises(InputError, match="teacher=tiny runs outside TensorFlow.*precompute"):
        assembly._refuse_in_cluster([hosted(0)], part)
    assembly._refuse_in_cluster([hosted(0)], Shard())
    assembly._refuse_in_cluster([linear_teacher(0)], part)


@pytest.fixture(scope="module")
def onnx_config(tmp_path_factory, teacher_run):
    """An ONNX teacher (of three channels, for grey digits) and one of Keras."""
    path = write_linear(tmp_path_factory.mktemp("onnx") / "t.onnx")
    return config(
        depth=1,
        tokens="spatial",
        distillation="soft",
        teacher=(f"{path},input=unit", str(teacher_run)),
        teacher_check=16,
        learning_rate=0.01,
        log_every_steps=1,
    )


@pytest.fixture(scope="module")
def onnx_run(onnx_config, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run"
    train(onnx_config, model_dir=path)
    return path


def test_interrupted_and_continued(onnx_config, onnx_run, tmp_path):
    with pytest.raises(Interrupted):
        train(onnx_config, model_dir=tmp_path / "run", stop=StopAfter(3))
    train(onnx_config, model_dir=tmp_path / "run")
    assert_same_end(tmp_path / "run", onnx_run)


def test_a_cache_filled_ahead_or_in_training(onnx_config, tmp_path):
    for name, ahead in (("ahead", True), ("along", False)):
        own = onnx_config.replace(teacher_cache=str(tmp_path / name))
        with as_python():
            if ahead:
                precompute(own)
            train(own, model_dir=tmp_path / f"run {name}")
    assert_same_end(tmp_path / "run ahead", tmp_path / "run along")
    files = [
        {
            file.relative_to(tmp_path / name): file.read_bytes()
            for file in (tmp_path / name).rglob("*")
            if file.is_file()
        }
        for name in ("ahead", "along")
    ]
    assert files[0] == files[1]
    assert any("logits" in file.name for file in files[0])
