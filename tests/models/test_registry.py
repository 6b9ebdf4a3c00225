from __future__ import annotations

import pytest

from std_keras import models
from std_keras.errors import InputError
from std_keras.models.mixer import MixerOptions, build_mixer

IMAGE = {"input_shape": (32, 32, 3), "num_classes": 10}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mixer_s61", {}, "model=mixer_s61: .* did you mean mixer_s16"),
        ("zzz", {}, "model=zzz: .* known: .*cifar_resnet110"),
        (
            "cifar_resnet20",
            {"patch_size": 4},
            "`patch_size` does not apply to cifar_resnet20; its options are depth, shortcut",
        ),
        ("mixer_s16", {"shortcut": "identity"}, "`shortcut` does not apply to mixer_s16"),
        (
            "mixer_s16",
            {"patch_size": 5},
            "patch_size=5: image size 32 is not divisible by it; use 1, 2, 4, 8, 16 or 32",
        ),
        ("mixer_h14", {}, "patch_size=14: image size 32"),
        ("mixer_s16", {"patch_size": 0}, "patch_size=0: must be at least 1"),
        ("mixer_s16", {"width": 0}, "width=0: must be at least 1"),
        ("mixer_s16", {"depth": -1}, "depth=-1: must be at least 1"),
        ("mixer_s16", {"token_mlp_dim": 0}, "token_mlp_dim=0"),
        ("mixer_s16", {"stochastic_depth": 1.0}, "stochastic_depth=1.0: .* below 1"),
        ("mixer_s16", {"gelu": "fast"}, "gelu=fast: must be one of exact, tanh"),
        ("mixer_s16", {"layer_norm_epsilon": 0.0}, "layer_norm_epsilon=0.0: must be positive"),
        ("cifar_resnet20", {"shortcut": "none"}, "shortcut=none: must be one of projection"),
        ("cifar_resnet20", {"depth": 21}, "depth=21: must be 6 n"),
    ],
)
def test_bad_input_gets_a_sentence(name, options, message):
    with pytest.raises(InputError, match=message):
        models.create(name, **IMAGE, **options)


def test_patch_must_divide_both_sides():
    with pytest.raises(InputError, match="image size 32x24 is not divisible by it; use 1, 2, 4 or"):
        models.create("mixer_s16", input_shape=(32, 24, 3), num_classes=10)


def test_none_is_not_given():
    model = models.create("mixer_s16", **IMAGE, patch_size=8, depth=1, width=8, shortcut=None)
    assert model.output_shape == (None, 10)


def test_a_registered_name_is_taken():
    with pytest.raises(ValueError, match="'mixer_s16' is already registered"):
        models.register("mixer_s16", MixerOptions(), build_mixer)


def test_options_must_be_a_dataclass_instance():
    with pytest.raises(ValueError, match="dataclass"):
        models.register("new", MixerOptions, build_mixer)
