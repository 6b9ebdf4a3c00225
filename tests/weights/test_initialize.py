from __future__ import annotations

import numpy as np
import pytest

from std_keras import models
from std_keras.errors import InputError
from std_keras.weights.initialize import copy_weights, input_normalization

OPTIONS = {"patch_size": 4, "width": 6, "depth": 2}
IMAGE = {"input_shape": (8, 8, 3), "num_classes": 5}


def create(**changes):
    return models.create("mixer_s16", **{**IMAGE, **OPTIONS, **changes})


def student(**changes):
    options = {**IMAGE, **OPTIONS, "teacher_sites": ["last"], **changes}
    return models.create_student("mixer_s16", **options)


def values(model):
    return {weight.path: weight.numpy() for weight in model.weights}


def test_a_student_starts_from_a_plain_model_and_the_other_way_round():
    plain, pupil = create(), student()
    before = values(pupil)
    done = copy_weights(pupil, plain, path="x")
    assert len(done.copied) == len(plain.weights)
    after = values(pupil)
    for name, value in values(plain).items():
        np.testing.assert_array_equal(after[name], value)
    for name in done.new:
        np.testing.assert_array_equal(after[name], before[name])
    assert {name.split("/")[0] for name in done.new} == {"tokens_0_last", "distillation_0_last"}
    assert (
        str(done) == f"{len(plain.weights)} weights copied; new: tokens_0_last, distillation_0_last"
    )

    back = copy_weights(create(), pupil, path="x")
    assert not back.new
    assert set(back.left_out) == set(done.new)


def test_heads_stay_new_if_the_number_of_classes_differs():
    source, target = student(), student(num_classes=3)
    done = copy_weights(target, source, path="x")
    assert {name.split("/")[0] for name in done.new} == {"classification", "distillation_0_last"}
    assert "tokens_0_last/spatial_token" in done.copied


def test_statistics_of_batch_norm_are_copied_and_seeds_are_not():
    options = {**IMAGE, "depth": 8}
    source, target = (models.create("cifar_resnet20", **options) for _ in range(2))
    source.get_layer("stem_norm").moving_mean.assign(np.arange(16.0))
    copy_weights(target, source, path="x")
    np.testing.assert_array_equal(target.get_layer("stem_norm").moving_mean, np.arange(16.0))
    dropping = create(stochastic_depth=0.1)
    assert not copy_weights(dropping, create(), path="x").new


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 8}, r"initialize_from=x has stem/kernel with shape \(4, 4, 3, 6\)"),
        ({"input_shape": (16, 16, 3)}, r"token_mlp/hidden/kernel .* see std-keras resize-weights"),
        ({"depth": 3}, "has no block_2/token_norm/gamma"),
        ({"depth": 1}, "has block_1/token_norm/gamma, which the new model lacks"),
    ],
)
def test_other_shapes_are_refused_and_nothing_is_copied(changes, words):
    target = create(**changes)
    before = values(target)
    with pytest.raises(InputError, match=words):
        copy_weights(target, create(), path="x")
    for name, value in values(target).items():
        np.testing.assert_array_equal(value, before[name])


def test_normalisation_is_read_from_the_architecture():
    model = create(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    mean, std = input_normalization(model.to_json())
    assert mean == pytest.approx([0.1, 0.2, 0.3])
    assert std == pytest.approx([0.4, 0.5, 0.6])
    import keras

    image = keras.Input((2,))
    assert input_normalization(keras.Model(image, image).to_json()) is None
