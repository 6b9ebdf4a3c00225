"""Networks without their class heads: the features are those of the network that was loaded."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras import models
from std_keras.errors import InputError
from std_keras.teachers import parse
from std_keras.teachers.backbone import backbone_of, load_backbone, without_head

L = keras.layers
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype(np.float32)


def network(*after_pooling, shape=(8, 8, 3)):
    keras.utils.set_random_seed(1)
    pooled = [L.Conv2D(6, 3, activation="relu"), L.GlobalAveragePooling2D(name="pool")]
    return keras.Sequential([keras.Input(shape), *pooled, *after_pooling])


def values_of(model, layer):
    return keras.Model(model.inputs[0], model.get_layer(layer).output)(IMAGES)


HEADS = {
    "dense": [L.Dense(10)],
    "softmax inside": [L.Dense(10, activation="softmax")],
    "softmax behind": [L.Dense(10), L.Activation("softmax")],
    "dropout": [L.Identity(name="pool_2"), L.Dense(10), L.Softmax(), L.Dropout(0.5)],
    "convolution of one pixel": [L.Reshape((1, 1, 6)), L.Conv2D(10, 1, name="last"), L.Flatten()],
}


@pytest.mark.parametrize("head", HEADS)
def test_features_are_what_the_head_reads(head):
    model = network(*(type(x).from_config(x.get_config()) for x in HEADS[head]))
    features, origin = without_head(model)
    assert origin.startswith("what layer ")
    found = np.reshape(features(IMAGES), (3, -1))
    np.testing.assert_array_equal(found, values_of(model, "pool"))


def test_a_network_without_a_head_gives_its_output():
    model = network()
    features, origin = without_head(model)
    assert "no class head" in origin
    np.testing.assert_array_equal(features(IMAGES), model(IMAGES))


def test_of_a_student_the_class_head_counts():
    student = models.create_student(
        "mixer_s16",
        input_shape=(8, 8, 3),
        num_classes=10,
        teacher_sites=["last"],
        patch_size=4,
        width=8,
        depth=2,
    )
    features, origin = without_head(student)
    assert origin == "what layer classification reads"
    head = student.get_layer("classification")
    expected = models.prediction_model(student, head="classification")(IMAGES)
    np.testing.assert_allclose(head(features(IMAGES)), expected, rtol=1e-5, atol=1e-6)


def load(path, *, options="", channels=3, size=8):
    teacher = load_backbone(
        parse(f"{path}{options}", flag="backbone"), size=size, channels=channels
    )
    return backbone_of(teacher, channels=channels)


@pytest.fixture
def saved(tmp_path):
    def save(model):
        path = tmp_path / "network.keras"
        model.save(path)
        return path

    return save


def test_pixels_are_scaled_inside(saved):
    model = network(L.Dense(10))
    backbone = load(saved(model), options=",input=signed")
    assert backbone.num_features == 6
    expected = without_head(model)[0](IMAGES / 127.5 - 1)
    np.testing.assert_allclose(backbone.model(IMAGES), expected, rtol=1e-4, atol=1e-5)


def test_the_new_head_reads_the_features_and_all_of_it_can_be_trained(saved):
    model = network(L.Dense(10))
    backbone = load(saved(model), options=",input=byte")
    classifier = backbone.with_head(4)
    head = classifier.get_layer("classification")
    np.testing.assert_allclose(
        classifier(IMAGES), head(backbone.model(IMAGES)), rtol=1e-5, atol=1e-6
    )
    own_head = 6 * 10 + 10
    assert models.trainable_parameters(classifier) == model.count_params() - own_head + 6 * 4 + 4


@pytest.mark.parametrize("layers", [[], [L.Reshape((36, 6))]])
def test_places_are_averaged(saved, layers):
    inputs = keras.Input((8, 8, 3))
    outputs = L.Conv2D(6, 3)(inputs)
    for layer in layers:
        outputs = type(layer).from_config(layer.get_config())(outputs)
    model = keras.Model(inputs, outputs)
    backbone = load(saved(model), options=",input=byte")
    expected = np.reshape(model(IMAGES), (3, 36, 6)).mean(axis=1)
    np.testing.assert_allclose(backbone.model(IMAGES), expected, rtol=1e-5, atol=1e-4)


def test_any_size_and_grey_images(saved):
    path = saved(network(L.Dense(10), shape=(None, None, 3)))
    backbone = load(path, options=",input=unit", channels=1, size=12)
    assert backbone.model.input_shape == (None, 12, 12, 1)
    grey = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 1)).astype(np.float32)
    color = load(path, options=",input=unit", size=12).model(np.repeat(grey, 3, axis=-1))
    np.testing.assert_allclose(backbone.model(grey), color, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_a_backbone(saved, tmp_path):
    with pytest.raises(InputError, match="backbone=.* is not a run directory") as refused:
        load(tmp_path / "nothing")
    assert "teacher" not in str(refused.value)  # The other flag's word.
    path = saved(network(L.Dense(10), shape=(8, 6, 3)))
    with pytest.raises(InputError, match="8x6 pixels; they must be square"):
        load(path, options=",input=byte")
    path = saved(network(L.Dense(10), shape=(8, 8, 1)))
    with pytest.raises(InputError, match=r"images of 1 channel\(s\), the data set's have 3"):
        load(path, options=",input=byte")
    path = saved(network(L.Dense(10), shape=(8, 8, 4)))
    words = r"^backbone=.* takes images of 4 channel\(s\), the data set's have 3"
    with pytest.raises(InputError, match=words):
        load(path, options=",input=byte")


@pytest.mark.parametrize("option", ["site=both", "output=logits", "layout=nchw", "labels=own"])
def test_options_that_mean_nothing_for_features_are_refused(option):
    name = option.partition("=")[0]
    with pytest.raises(InputError, match=f"^backbone=.*{option}: {name} does not apply"):
        parse(f"network.keras,input=byte,{option}", flag="backbone")
