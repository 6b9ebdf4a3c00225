"""`.keras` files that take Keras minutes or hours to read."""

from __future__ import annotations

import json
import zipfile

import keras
import numpy as np
import pytest

from std_keras.errors import InputError
from std_keras.runs.keras_file import load_keras_file


def sequential(layers):
    parts = [{"class_name": "Activation", "config": {"name": f"a{i}"}} for i in range(layers)]
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": parts}}


@pytest.mark.parametrize("lengths", [[201], [150, 150], [5] * 2_000])
def test_sequentials_that_are_built_anew_for_hours(tmp_path, monkeypatch, lengths):
    monkeypatch.setattr(keras.models, "load_model", None)
    described = sequential(0)
    described["config"]["layers"] = [sequential(length) for length in lengths[:1]]
    described["others"] = [sequential(length) for length in lengths[1:]]
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(described))
    with pytest.raises(InputError, match=r"m\.keras describes a Sequential of more layers"):
        load_keras_file(tmp_path / "m.keras")


def test_code_in_a_file_is_refused_in_our_words(tmp_path):
    pixels = keras.Input((2, 2, 1))
    keras.Model(pixels, keras.layers.Lambda(lambda v: v * 2)(pixels)).save(tmp_path / "m.keras")
    with pytest.raises(InputError, match=r"m\.keras holds a Lambda layer, whose code") as refused:
        load_keras_file(tmp_path / "m.keras")
    assert "safe_mode" not in str(refused.value)  # No option of this project.


class Counted(keras.layers.Layer):
    """Counts how often one is built."""

    built_ones = 0

    def build(self, input_shape):
        Counted.built_ones += 1


def test_a_model_is_built_once(tmp_path, monkeypatch):
    keras.Sequential([keras.Input((3,)), Counted()]).save(tmp_path / "m.keras")
    monkeypatch.setattr(Counted, "built_ones", 0)
    with keras.saving.custom_object_scope({"Counted": Counted}):
        load_keras_file(tmp_path / "m.keras")
    assert Counted.built_ones == 1


def test_a_functional_model_may_have_more_layers(tmp_path):
    inputs = keras.Input((3,))
    outputs = inputs
    for _ in range(220):
        outputs = keras.layers.Activation("relu")(outputs)
    keras.Model(inputs, outputs).save(tmp_path / "m.keras")
    found = load_keras_file(tmp_path / "m.keras")
    np.testing.assert_array_equal(found(np.float32([[-1, 0, 2]])), [[0, 0, 2]])
