from __future__ import annotations

import numpy as np
import pytest

from std_keras import models
from std_keras.config import TrainConfig
from std_keras.errors import InputError
from std_keras.runs.run_directory import RunDirectory
from std_keras.weights.initialize import (
    copy_weights,
    find_start,
    inherited_options,
    input_normalization,
)

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
        ({"token_mlp_dim": 5}, r"block_0/token_mlp/hidden/kernel with shape \(4, 3\)"),
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


def test_token_sets_of_another_kind_stay_new():
    source, target = student(tokens="both"), student(tokens="spatial")
    done = copy_weights(target, source, path="x")
    assert "distillation_0_last/kernel" in done.new
    assert "block_1/token_norm/gamma" in done.copied


def test_a_token_that_is_mixed_with_all_patches_fits_no_other_number():
    with pytest.raises(InputError, match="tokens=deit"):
        copy_weights(
            student(tokens="deit", input_shape=(16, 16, 3)), student(tokens="deit"), path="x"
        )


def start(tmp_path, model="mixer_s16", **options):
    """A finished run of that model, 8 x 8 pixels."""
    from std_keras.weights.run import write_run

    run = RunDirectory(tmp_path / "source")
    config = TrainConfig(model=model, **options)
    network = models.create(model, **IMAGE, **config.model.architecture())
    write_run(run, model=network, config=config, label_names=tuple("abcde"), origin={})
    return find_start(str(run.path))


def test_options_that_were_not_given_are_the_sources(tmp_path):
    source = start(tmp_path, layer_norm_epsilon=1e-5, gelu="tanh", token_mlp_dim=7, **OPTIONS)
    given = TrainConfig(depth=2, initialize_from="x", stochastic_depth=0.1, epochs=7)
    config = inherited_options(given, source, image_size=8)
    options = {**OPTIONS, "layer_norm_epsilon": 1e-5, "gelu": "tanh", "token_mlp_dim": 7}
    assert config == given.replace(model="mixer_s16", **options)


def test_other_families_give_theirs(tmp_path):
    source = start(tmp_path, "cifar_resnet20", depth=8, shortcut="identity")
    config = inherited_options(TrainConfig(), source, image_size=32)
    assert (config.model.name, config.model.depth, config.model.shortcut) == (
        "cifar_resnet20",
        8,
        "identity",
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"model": "mixer_b16"}, "model=mixer_b16 contradicts .*is a mixer_s16; leave `model` out"),
        ({"width": 8}, "width=8 contradicts .*which has width=6"),
        ({"channel_mlp_dim": 23}, "channel_mlp_dim=23 contradicts .*channel_mlp_dim=24"),
        ({"gelu": "tanh"}, "gelu=tanh contradicts .*gelu=exact"),
        ({"layer_norm_epsilon": 1e-3}, "layer_norm_epsilon=0.001 contradicts .*=1e-06"),
        ({"token_mlp_dim": 4}, "token_mlp_dim=4 contradicts .*becomes 3 wide"),
    ],
)
def test_a_contradiction_names_the_argument(tmp_path, given, words):
    source = start(tmp_path, **OPTIONS)
    with pytest.raises(InputError, match=words):
        inherited_options(TrainConfig(**given), source, image_size=8)


def test_what_is_given_and_the_same_is_no_contradiction(tmp_path):
    source = start(tmp_path, **OPTIONS)
    given = {"model": "mixer_s16", "width": 6, "channel_mlp_dim": 24, "gelu": "exact"}
    config = inherited_options(TrainConfig(**given), source, image_size=8)
    assert config == TrainConfig(**{**OPTIONS, **given})


def test_the_width_of_token_mixing_says_how_it_grows(tmp_path):
    """2 x 2 patches, hidden width 3, become 4 x 4 patches."""
    source = start(tmp_path, **OPTIONS)

    def hidden(image_size=16, **given):
        config = inherited_options(TrainConfig(**given), source, image_size=image_size)
        return config.model.token_mlp_dim

    assert hidden() == 12  # Block-diagonal, the exact way.
    assert hidden(token_mlp_dim=12) == 12
    assert hidden(token_mlp_dim=3) == 3  # Interpolated.
    assert hidden(image_size=12) is None  # No multiple: interpolated, as wide as it was.
    assert hidden(patch_size=8) is None  # The same patches.
    with pytest.raises(InputError, match="16 pixels in patches of 4 .* 12 or 3 wide"):
        hidden(token_mlp_dim=6)


def test_what_can_be_a_start(tmp_path):
    source = start(tmp_path, **OPTIONS)
    path = source.run.path
    (path / "best.keras").write_bytes(source.file.read_bytes())
    assert find_start(str(path / "best.keras")).run.path == path
    assert find_start("std_keras:cifar100_cpu_student").load().output_shape == (None, 100)
    with pytest.raises(InputError, match="initialize_from=std_keras:none: no weights of that name"):
        find_start("std_keras:none")
    with pytest.raises(InputError, match="source=.* is not a run directory"):
        find_start(str(tmp_path), flag="source")


def test_normalisation_is_read_from_the_architecture():
    model = create(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    mean, std = input_normalization(model.to_json())
    assert mean == pytest.approx([0.1, 0.2, 0.3])
    assert std == pytest.approx([0.4, 0.5, 0.6])
    import keras

    image = keras.Input((2,))
    assert input_normalization(keras.Model(image, image).to_json()) is None
