from __future__ import annotations

import keras
import numpy as np
import pytest

from std_keras import models
from std_keras.errors import InputError
from std_keras.exporting import inference_model

HEADS = (
    "average",
    "confidence",
    "distillation",
    "classification",
    "distillation_0_intermediate",
    "distillation_1_last",
)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_is_the_one_that_evaluation_measures(student, images, head):
    pixels = images.astype(np.float32)
    expected = models.heads_model(student)(pixels)[head]
    np.testing.assert_allclose(inference_model(student, head=head)(pixels), expected, atol=1e-6)


def test_a_classification_export_has_no_token_modules(student):
    names = [layer.name for layer in inference_model(student, head="classification").layers]
    assert not [name for name in names if name.startswith(("tokens_", "distillation_"))]


def test_a_head_that_is_not_there_is_refused(student):
    with pytest.raises(InputError, match=r"head=distillation_7_last.*average"):
        inference_model(student, head="distillation_7_last")


@pytest.fixture
def bfloat16_student(create_student):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield create_student()
    keras.config.set_dtype_policy(before)


def test_a_mixed_precision_model_is_exported_in_float32(bfloat16_student, create_student, images):
    pixels = images.astype(np.float32)
    keras.config.set_dtype_policy("float32")
    same = create_student()  # The same random weights.
    exported = inference_model(bfloat16_student, head="average")
    assert {layer.compute_dtype for layer in exported.layers} == {"float32"}
    np.testing.assert_allclose(exported(pixels), same(pixels), atol=1e-6)
    assert np.abs(np.asarray(bfloat16_student(pixels)) - same(pixels)).max() > 1e-4
