"""Presets of KerasHub and KerasCV, and what Keras saved on the hub, from this machine alone."""

from __future__ import annotations

import json
import zipfile

import keras
import keras_cv
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from std_keras.errors import InputError
from std_keras.teachers import input_size, load, parse
from std_keras.teachers.identity import identity

NAMES = tuple("0123456789")
SIDE = 16
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)


def load_teacher(text, image_shape=(SIDE, SIDE, 3)):
    return load(parse(text), image_shape=image_shape, label_names=NAMES)


def refused(text):
    with pytest.raises(InputError) as info:
        load_teacher(text)
    assert "\n" not in str(info.value)
    return str(info.value)


@pytest.fixture(scope="module")
def hub_preset(tmp_path_factory):
    """A tiny classifier of KerasHub as it saves it, and what it predicts."""
    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )
    converter = keras_hub.layers.ResNetImageConverter(
        image_size=(SIDE, SIDE), scale=1 / 127.5, offset=-1.0
    )
    model = keras_hub.models.ResNetImageClassifier(
        backbone=backbone,
        num_classes=10,
        preprocessor=keras_hub.models.ResNetImageClassifierPreprocessor(image_converter=converter),
        activation=None,
    )
    folder = tmp_path_factory.mktemp("hub") / "preset"
    model.save_to_preset(str(folder))
    return folder, model.predict(IMAGES, verbose=0)


def saved_by_keras_cv(folder, **options):
    """A tiny classifier as KerasCV's presets are: the layers' description, and the weights."""
    keras.utils.set_random_seed(0)
    backbone = keras_cv.models.DenseNetBackbone(
        stackwise_num_repeats=[1, 1], growth_rate=4, **options
    )
    model = keras_cv.models.ImageClassifier(backbone=backbone, num_classes=10)
    folder.mkdir()
    model.save_weights(folder / "model.weights.h5")
    described = keras.saving.serialize_keras_object(model) | {"weights": "model.weights.h5"}
    (folder / "config.json").write_text(json.dumps(described))
    return model


def test_keras_hub_with_its_own_preprocessing(hub_preset):
    folder, predicted = hub_preset
    teacher = load_teacher(f"keras_hub:{folder},site=intermediate")
    assert teacher.image_shape == (SIDE, SIDE, 3)
    assert teacher.site == "intermediate"
    np.testing.assert_allclose(teacher.logits(IMAGES), predicted, rtol=1e-4, atol=1e-5)


def test_the_size_of_a_preset(hub_preset):
    folder, _ = hub_preset
    assert input_size(parse(f"keras_hub:{folder}")) == SIDE
    assert input_size(parse(f"keras_hub:{folder},size=32")) == 32
    assert load_teacher(f"keras_hub:{folder}", (8, 8, 3)).image_shape == (SIDE, SIDE, 3)
    assert load_teacher(f"keras_hub:{folder},size=32").image_shape == (32, 32, 3)
    assert input_size(parse("keras_hub:resnet_50_imagenet")) == 224


def test_keras_hub_knows_its_range(hub_preset):
    assert "leave input out" in refused(f"keras_hub:{hub_preset[0]},input=unit")


def test_keras_cv(tmp_path):
    shape = (SIDE, SIDE, 3)
    model = saved_by_keras_cv(tmp_path / "cv", include_rescaling=True, input_shape=shape)
    teacher = load_teacher(f"keras_cv:{tmp_path / 'cv'}")
    assert teacher.probabilities
    assert teacher.image_shape == shape
    expected = model(IMAGES.astype(np.float32), training=False)
    np.testing.assert_allclose(
        tf.nn.softmax(teacher.logits(IMAGES)), expected, rtol=1e-4, atol=1e-6
    )


def test_keras_cv_without_rescaling(tmp_path):
    shape = (SIDE, SIDE, 3)
    model = saved_by_keras_cv(tmp_path / "cv", include_rescaling=False, input_shape=shape)
    assert "add ,input=" in refused(f"keras_cv:{tmp_path / 'cv'}")
    teacher = load_teacher(f"keras_cv:{tmp_path / 'cv'},input=unit")
    expected = model(IMAGES / np.float32(255), training=False)
    np.testing.assert_allclose(
        tf.nn.softmax(teacher.logits(IMAGES)), expected, rtol=1e-4, atol=1e-6
    )


def test_a_folder_goes_by_its_content(tmp_path, hub_preset):
    folder, _ = hub_preset
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    first, second = (identity(parse(f"keras_hub:{path}")) for path in (folder, copy))
    assert first == second
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert identity(parse(f"keras_hub:{copy}")) != first
    assert "keras-hub" in identity(parse("keras_hub:resnet_50_imagenet"))["teacher weights"]


@pytest.mark.parametrize("source", ["keras_hub:no_such_preset", "keras_cv:no_such_preset"])
def test_a_preset_that_does_not_exist(source):
    said = refused(source)
    assert said.startswith(f"teacher={source} is not a preset: ")
    assert said.endswith("or a folder that save_to_preset wrote")


def test_a_damaged_preset(tmp_path, hub_preset):
    folder, _ = hub_preset
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes()[: 2000 if file.suffix == ".h5" else None])
    assert f"teacher=keras_hub:{copy} " in refused(f"keras_hub:{copy}")


def test_a_preset_with_code_in_it(tmp_path, hub_preset):
    """A Lambda layer holds Python code; nothing is loaded that has one."""
    folder, _ = hub_preset
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    network = keras.Sequential(
        [keras.Input((SIDE, SIDE, 3)), keras.layers.Lambda(lambda x: open("/etc/passwd") and x)]
    )
    config = keras.saving.serialize_keras_object(network)
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "task.json").unlink()
    assert f"teacher=keras_hub:{copy} " in refused(f"keras_hub:{copy}")


def test_without_a_network(monkeypatch):
    def offline(preset):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(keras_hub.models.ImageClassifier, "from_preset", offline)
    message = refused("keras_hub:resnet_50_imagenet")
    assert "nor could it be downloaded (Name or service not known); run it once with" in message


# hf://ORG/NAME


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """The cache of huggingface_hub with one repository, as Keras uploads it, and no network."""
    from huggingface_hub import constants

    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIDE, SIDE, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(10)(pooled))
    repository = tmp_path / "models--somebody--tiny"
    revision = "0" * 40
    snapshot = repository / "snapshots" / revision
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    snapshot.mkdir(parents=True)
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        archive.extractall(snapshot)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return model


def test_the_hub_from_its_cache(hub_cache):
    teacher = load_teacher("hf://somebody/tiny,input=unit")
    expected = hub_cache(IMAGES / np.float32(255))
    np.testing.assert_allclose(teacher.logits(IMAGES), expected, rtol=1e-4, atol=1e-6)


def test_the_hub_does_not_know_the_range(hub_cache):
    assert "add ,input=" in refused("hf://somebody/tiny")


def test_what_is_not_in_the_cache(hub_cache):
    message = refused("hf://somebody/else,input=unit")
    assert message.startswith("teacher=hf://somebody/else is neither on this machine nor")
