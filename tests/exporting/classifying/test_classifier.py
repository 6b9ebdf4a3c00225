"""Against Keras on the same pixels, for every kind of file."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from PIL import Image

from std_keras import exporting, models
from std_keras.config import option
from std_keras.errors import InputError
from std_keras.exporting.classifying import Classifier, center_square, describe
from std_keras.exporting.classifying import classifier as classifier_module


@pytest.fixture(scope="module")
def student() -> keras.Model:
    keras.utils.set_random_seed(8)
    model = models.create(
        "mixer_s16", input_shape=(16, 16, 3), num_classes=10, patch_size=4, width=32, depth=1
    )
    kernel = model.get_layer("classification").kernel  # Starts at zero.
    kernel.assign(np.random.default_rng(8).normal(size=kernel.shape))
    return exporting.inference_model(model, head="classification")


@pytest.mark.parametrize(
    ("quantization", "input_type", "tolerance"),
    [
        ("float32", "uint8", 1e-4),
        ("float32", "float32", 1e-4),
        ("float16", "uint8", 0.02),
        ("dynamic", "uint8", 0.2),
        ("int8", "uint8", 0.8),
    ],
)
def test_it_predicts_as_keras(
    student, card, photograph, tmp_path, quantization, input_type, tolerance
):
    rng = np.random.default_rng(9)
    content = exporting.convert(
        student,
        quantization=quantization,
        input_type=input_type,
        representative_images=rng.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
        if quantization == "int8"
        else None,
    )
    path = tmp_path / "student.tflite"
    path.write_bytes(describe(content, card))
    assert classifier_module.MOST_THREADS == option.MOST_THREADS
    with pytest.raises(InputError, match="threads=257 must be between 1 and 256"):
        Classifier(path, threads=257)
    classifier = Classifier(path, threads=2)
    assert classifier.card == card

    image = Image.fromarray(photograph)
    pixels = center_square(image, 16, crop_ratio=0.875)
    logits = np.asarray(student(pixels[np.newaxis].astype(np.float32)))[0]
    np.testing.assert_allclose(classifier.logits(pixels), logits, atol=tolerance)

    found = classifier.classify(image, top_k=10)
    assert [p.index for p in found] == np.argsort(-classifier.logits(pixels)).tolist()
    assert [p.label for p in found] == [card.labels[p.index] for p in found]
    powers = np.exp(np.array([p.logit for p in found]))
    probabilities = [p.probability for p in found]
    np.testing.assert_allclose(probabilities, powers / powers.sum(), rtol=1e-5)
    assert classifier.classify(image, top_k=3) == found[:3]
    assert len(classifier.classify(image, top_k=99)) == 10


def test_a_card_of_another_model_is_refused(student, card, tmp_path):
    content = exporting.convert(student, quantization="float32")
    path = tmp_path / "student.tflite"
    for other in (
        dataclasses.replace(card, image_size=32),
        dataclasses.replace(card, labels=card.labels[:9]),
        dataclasses.replace(card, channels=1),
    ):
        path.write_bytes(describe(content, other))
        with pytest.raises(InputError, match="but its metadata declares"):
            Classifier(path)


def test_damaged_files_are_refused(student, card, tmp_path):
    content = bytearray(describe(exporting.convert(student, quantization="float32"), card))
    path = tmp_path / "student.tflite"
    content[8:2000] = bytes(1992)
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be loaded as a TFLite file"):
        Classifier(path)


def test_values_that_are_not_finite_are_refused(student, card, photograph, tmp_path):
    bias = student.get_layer("classification").bias
    kept = bias.numpy()
    bias.assign(np.full(10, np.nan))
    try:
        content = exporting.convert(student, quantization="float32")
    finally:
        bias.assign(kept)
    path = tmp_path / "student.tflite"
    path.write_bytes(describe(content, card))
    with pytest.raises(InputError, match="non-finite values"):
        Classifier(path).classify(Image.fromarray(photograph))
