"""Any Keras classifier becomes a file that says how to feed it and what its answers are called."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import std_keras
from std_keras.data import load
from std_keras.errors import InputError
from std_keras.exporting.any_classifier import run_of_classifier
from std_keras.exporting.classifying import Classifier

L = keras.layers
NAMES = [f"digit {i}" for i in range(10)]
DATA = load("digits").test.take(30)


def network(*head, shape=(8, 8, 1)):
    keras.utils.set_random_seed(1)
    body = [L.Conv2D(8, 3, activation="relu"), L.BatchNormalization(), L.Flatten()]
    return keras.Sequential([keras.Input(shape), *body, *head], name="foreign")


HEADS = {
    "logits": [L.Dense(10)],
    "dense softmax": [L.Dense(10, activation="softmax")],
    "softmax layer": [L.Dense(10), L.Softmax()],
    "activation": [L.Dense(10), L.Activation("softmax")],
    "probabilities of another kind": [L.Dense(10, activation="softmax"), L.Dropout(0.1)],
}


@pytest.fixture
def saved(tmp_path):
    def save(model, labels=NAMES):
        path = tmp_path / "network.keras"
        model.save(path)
        if labels is not None:
            (tmp_path / "labels.txt").write_text("".join(f"{name}\n" for name in labels))
        return path

    return save


def run_of(path, folder, *, options=",input=unit", labels=None):
    return run_of_classifier(f"{path}{options}", folder=folder, labels=labels, eval_crop_ratio=0.9)


@pytest.mark.parametrize("head", HEADS)
def test_it_takes_pixels_and_gives_logits(saved, tmp_path, head):
    model = network(*(type(x).from_config(x.get_config()) for x in HEADS[head]))
    run = run_of(saved(model), tmp_path / "run")
    probabilities = model(DATA[0] / np.float32(255))
    if head == "logits":
        probabilities = keras.ops.softmax(probabilities)
    logits = run.model()(DATA[0])
    np.testing.assert_allclose(keras.ops.softmax(logits), probabilities, rtol=1e-4, atol=1e-6)
    assert run.labels == tuple(NAMES)
    assert run.config.augmentation.eval_crop_ratio == 0.9
    logarithm = any(type(part).__name__ == "Log" for part in run.model().operations)
    assert logarithm == (head == "probabilities of another kind")


def test_the_exported_file_classifies_with_the_given_names(saved, tmp_path):
    path = saved(network(L.Dense(10, activation="softmax")), labels=None)
    names = tmp_path / "names"
    names.write_text("".join(f"{i}\n" for i in range(10)))
    report = std_keras.export(
        model=f"{path},input=unit",
        labels=names,
        dataset="digits",
        output_dir=tmp_path / "out",
        quantizations=["float32"],
        verify_examples=30,
    )
    assert report.model_dir == f"{path},input=unit"
    assert report.model == "foreign"
    assert report.tflite["float32"].accuracy_drop == 0
    card = Classifier(report.file("float32")).card
    assert (card.name, card.labels, card.image_size) == ("foreign", tuple("0123456789"), 8)


def test_what_cannot_be_exported(saved, tmp_path):
    def refused(path, **options):
        with pytest.raises(InputError) as info:
            run_of(path, tmp_path / "run", **options)
        return str(info.value)

    path = saved(network(L.Dense(10)), labels=None)
    assert "`labels` is missing" in refused(path)
    (tmp_path / "labels.txt").write_text("one\n")
    assert "has 10 classes, its labels.txt 1 lines" in refused(path)
    assert "model=" in refused(path, options="") and "add ,input=" in refused(path, options="")
    any_size = keras.Sequential([keras.Input((None, None, 1)), L.Conv2D(10, 3)])
    assert "takes images of any size; add ,size=N" in refused(saved(any_size))
    assert "one row of class scores" in refused(saved(any_size), options=",input=unit,size=8")


def test_either_a_run_or_a_model(saved, tmp_path):
    path, folder = saved(network(L.Dense(10))), {"output_dir": tmp_path / "out"}
    with pytest.raises(InputError, match="either a run directory or `model`"):
        std_keras.export(**folder)
    with pytest.raises(InputError, match="`dataset` is missing"):
        std_keras.export(model=f"{path},input=unit", **folder)
    with pytest.raises(InputError, match="one set of weights"):
        std_keras.export(model=f"{path},input=unit", dataset="digits", weights="ema", **folder)
    with pytest.raises(InputError, match="`labels` is for `model`"):
        std_keras.export(tmp_path, labels="x", **folder)
