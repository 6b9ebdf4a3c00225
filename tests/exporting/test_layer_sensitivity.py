from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras.errors import Interrupted
from std_keras.exporting import convert, inference_model
from std_keras.exporting import layer_sensitivity as blame
from std_keras.exporting.quantize import plan


@pytest.fixture(scope="module")
def content(student) -> bytes:
    return convert(inference_model(student, head="average"), quantization="float32")


@pytest.fixture(scope="module")
def labels(student, images) -> np.ndarray:
    return np.asarray(student(images.astype(np.float32))).argmax(1)


@pytest.fixture(scope="module")
def poor() -> keras.Model:
    """Two dense layers; what the second reads has one value so large that the others become 0."""
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Dense(65, activation="relu", name="good")(keras.layers.Flatten()(image))
    model = keras.Model(image, keras.layers.Dense(10, name="bad")(x), name="poor")
    rng = np.random.default_rng(1)
    bias = np.zeros(65)
    bias[64] = 1e7
    model.get_layer("good").set_weights([np.eye(64, 65), bias])
    kernel = rng.normal(size=(65, 10))
    kernel[64] = 0.0
    model.get_layer("bad").set_weights([kernel, np.zeros(10)])
    return model


@pytest.mark.parametrize("quantization", ["dynamic", "int8", "int4"])
def test_every_quantised_layer_has_its_figure(content, images, labels, quantization):
    errors = blame.layer_errors(
        content,
        quantization=quantization,
        images=images[:4],
        labels=labels[:4],
        representative_images=images,
    )
    assert len(errors) == len(plan(content, quantization=quantization)) == 2 * 8 + 1 + 3
    token_set = {f"tokens_0_intermediate/{kind}_mlp_0" for kind in ("spatial", "channel")}
    token_set |= {f"tokens_1_last/{kind}_mlp_0" for kind in ("spatial", "channel")}
    blocks = {f"block_{i}/{kind}_mlp" for i in (0, 1) for kind in ("token", "channel")}
    dense = {f"{mlp}/{part}" for mlp in token_set | blocks for part in ("hidden", "output")}
    heads = {"classification", "distillation_0_intermediate", "distillation_1_last"}
    assert {error.layer for error in errors} == {"stem"} | dense | heads
    assert all(error.max_logit_difference > 0 for error in errors)
    static = {error.layer for error in errors if error.activations == "static"}
    assert len(static) == (2 * 2 + 2 * 2 if quantization == "int8" else 0)


def test_the_layer_to_blame_comes_first(poor, images):
    labels = np.asarray(poor(images.astype(np.float32))).argmax(1)
    content = convert(poor, quantization="float32")
    errors = blame.layer_errors(content, quantization="dynamic", images=images, labels=labels)
    assert [error.layer for error in errors] == ["head", "good"]
    assert errors[0].accuracy_drop > 0.5
    assert errors[1].accuracy_drop < 0.2
    assert blame.short_table(errors, lines=1).split()[0] == "head"


def test_it_stops_when_asked(content, images, labels):
    with pytest.raises(Interrupted):
        blame.layer_errors(
            content, quantization="dynamic", images=images, labels=labels, stop=lambda: True
        )
