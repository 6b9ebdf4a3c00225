"""The definition of a run: limits, defaults, JSON, comparison."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from std_keras.config import TrainConfig, defaults, differing_options, options, resolve
from std_keras.config.data import DataOptions
from std_keras.config.train_config import GROUPS
from std_keras.errors import InputError

OPTIONS = options()
DEFAULTS = defaults()


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(**changes)


# Every option

# Values on both sides of each limit: (refused, taken). Taken ones agree with the defaults.
LIMITS: dict[str, tuple[list[Any], list[Any]]] = {
    "image_size": ([0, -1], [1, None]),
    "validation_fraction": ([-0.1, 1.0], [0.0, 0.999]),
    "test_fraction": ([-0.1, 1.0], [0.0, 0.999]),
    "test_seed": ([-1], [0]),
    "max_train_examples": ([-1], [0]),
    "teacher_check": ([-1], [0]),
    "max_test_examples": ([-1], [0]),
    "cache_gb": ([-0.1], [0.0]),
    "data_seed": ([-1], [0]),
    "crop_padding": ([-1], [0, None]),
    "label_smoothing": ([-0.1, 1.0], [0.0, 0.999]),
    "patch_size": ([0], [1, None]),
    "width": ([0], [1, None]),
    "depth": ([0], [1, None]),
    "token_mlp_dim": ([0], [1, None]),
    "channel_mlp_dim": ([0], [1, None]),
    "stochastic_depth": ([-0.1, 1.0], [0.0, 0.999]),
    "window_size": ([0], [1, None]),
    "layer_norm_epsilon": ([0.0, -1e-6], [1e-12, None]),
    "token_mlps": ([0, 3], [1, 2]),
    "alpha": ([-0.01, 1.01], [0.0, 1.0]),
    "temperature": ([0.0, -1.0], [1e-3]),
    "nasty_weight": ([0.0, -0.1], [1e-6]),
    "nasty_temperature": ([0.0, -1.0], [1e-3]),
    "skeptical_stage": ([0, 3], [1, 2]),
    "mine_weight": ([-0.1], [0.0]),
    "augmentation_views": ([-1], [0, 1]),
    "teacher_cache_top_k": ([-1], [0]),
    "mine_samples": ([-1], [0]),
    "mine_learning_rate": ([0.0], [1e-9, None]),
    "mine_student_learning_rate": ([0.0], [1e-9]),
    "epochs": ([0, -3], [1]),
    "batch_size": ([0], [1]),
    "learning_rate": ([0.0, -1e-3], [1e-5]),
    "learning_rate_batch_size": ([-1], [0, 256]),
    "minimum_learning_rate": ([-1e-9], [0.0]),
    "warmup_epochs": ([-1.0], [0.0, 0.5, None]),
    "weight_decay": ([-0.1], [0.0]),
    "muon_learning_rate_ratio": ([0.0, -1.0], [0.5]),
    "momentum": ([-0.1, 1.0], [0.0, 0.999]),
    "clip_norm": ([-1.0], [0.0]),
    "accumulation_steps": ([0], [1]),
    "ema_decay": ([-0.1, 1.0], [0.0, 0.9999]),
    "seed": ([-1], [0]),
    "evaluate_every_epochs": ([0], [1]),
    "checkpoint_every_steps": ([-1], [0]),
    "keep_checkpoints": ([0], [1]),
    "save_failures_allowed": ([-1], [0, 3]),
    "data_stall_seconds": ([-1.0], [0.0, 0.5]),
    "cluster_wait_seconds": ([-1.0], [0.0, 0.5]),
    "log_every_steps": ([0], [1]),
    "profile_steps": ([-1], [0]),
    "logical_cpus": ([-1], [0]),
    "steps_per_call": ([0], [1]),
    "evaluation_batch_size": ([0], [1, None]),
}


def test_every_number_has_a_limit_that_is_tested():
    limited = {name for name, option in OPTIONS.items() if option.check is not None}
    assert limited == {name for name, o in OPTIONS.items() if o.kind in (int, float)}
    # The recipes of augmentation have their own tests.
    assert {n for n in limited if OPTIONS[n].topic != "Augmentation"} <= set(LIMITS)


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, (bad, _) in LIMITS.items() for v in bad])
def test_a_number_outside_its_limits(name, value):
    with pytest.raises(InputError) as info:
        config(**{name: value})
    assert f"{name}={value} must be " in str(info.value)


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, (_, ok) in LIMITS.items() for v in ok])
def test_a_number_at_its_limits(name, value):
    assert config(**{name: value}).flat()[name] == value


@pytest.mark.parametrize("name", [n for n, o in OPTIONS.items() if o.kind is float])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite(name, value):
    with pytest.raises(InputError, match=f"{name}={value}"):
        config(**{name: value})


@pytest.mark.parametrize("name", [n for n, o in OPTIONS.items() if o.choices])
def test_choices(name):
    with pytest.raises(InputError) as info:
        config(**{name: "nonsense"})
    assert f"{name}=nonsense must be one of " in str(info.value)
    for choice in OPTIONS[name].choices:
        assert choice in str(info.value)
    more = {"teacher": ("x",)} if name == "distillation" else {}
    more |= {"teacher_cache": "labels"} if name == "teacher_cache_mode" else {}
    for choice in OPTIONS[name].choices:
        if name == "objective" and choice != "standard":
            more = {"teacher": ("x",), "distillation": "none" if choice == "nasty" else "soft"}
        taken = "soft" if name == "distillation" and choice == "auto" else choice
        assert config(**{name: choice, **more}).flat()[name] == taken


WRONG_KIND = {str: 3, int: 1.5, float: "0.5", bool: "yes"}


@pytest.mark.parametrize("name", [n for n, o in OPTIONS.items() if not o.repeated])
def test_values_of_the_wrong_kind(name):
    kind = OPTIONS[name].kind
    wrong = [WRONG_KIND[kind], [DEFAULTS[name]]]
    wrong += [1] if kind is bool else [True]  # Python takes True for the number 1.
    for value in wrong:
        with pytest.raises(InputError, match=f"{name}="):
            config(**{name: value})


@pytest.mark.parametrize("name", [n for n, d in DEFAULTS.items() if d is not None])
def test_only_what_has_no_default_may_be_none(name):
    with pytest.raises(InputError, match=f"{name}=None"):
        config(**{name: None})


@pytest.mark.parametrize("value", ["runs/a", ["runs/a"], (3,), (None,)])
def test_teachers_are_a_tuple_of_texts(value):
    with pytest.raises(InputError, match="teacher="):
        config(teacher=value)


def test_whole_numbers_may_stand_for_fractions():
    assert config(learning_rate=1, clip_norm=2).optimization.learning_rate == 1


def test_every_option_says_what_it_is():
    for name, option in OPTIONS.items():
        assert option.topic in {group.topic for group in GROUPS.values()}, name
        assert option.help.endswith("."), name
        assert bool(option.check) == bool(option.wanted), name


# Groups


def test_an_option_stands_in_the_group_of_its_topic():
    done = config(dataset="cifar100", model="mixer_b16", augmentation="deit", mine_schedule="epoch")
    assert done.data.dataset == "cifar100"
    assert done.model.name == "mixer_b16"
    assert done.augmentation.preset == "deit"
    assert done.mine.schedule == "epoch"


def test_no_flag_is_in_two_groups():
    assert sum(len(group.options()) for group in GROUPS.values()) == len(OPTIONS)


def test_a_group_checks_itself():
    with pytest.raises(InputError, match="cache_gb=-1"):
        DataOptions(cache_gb=-1.0)


# Replacement


def test_a_config_cannot_be_changed_and_its_replacement_is_checked():
    with pytest.raises(dataclasses.FrozenInstanceError):
        config().data = DataOptions()
    with pytest.raises(InputError, match="epochs=0"):
        config().replace(epochs=0)


# JSON

FULL = {
    "distillation": "soft",
    "teacher": ("runs/a,site=both", "keras:ResNet50"),
    "learning_rate": 0.1,
    "image_size": 64,
    "mixed_precision": True,
    "mine_learning_rate": 3e-4,
}


@pytest.mark.parametrize("values", [{}, FULL], ids=["defaults", "set"])
def test_json_round_trip(values):
    first = config(**values)
    written = json.loads(first.to_json())
    assert set(written) == set(DEFAULTS)
    again = TrainConfig.from_mapping(written, source="config.json")
    assert again == first
    assert again.to_json() == first.to_json()
    assert hash(again) == hash(first)


def test_flags_that_an_older_file_does_not_name_keep_their_defaults():
    assert TrainConfig.from_mapping({"epochs": 7}, source="x") == config(epochs=7)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"epoch": 3}, "unknown option epoch"),
        ({"epochs": "3"}, "epochs='3' must be an integer"),
        ({"epochs": None}, "epochs=None"),
        ({"epochs": 3.0}, "epochs=3.0"),
        ({"teacher": "runs/a"}, "teacher='runs/a'"),
        ({"alpha": 2}, "alpha=2"),
    ],
)
def test_a_damaged_file_is_named_with_its_flag(values, named):
    with pytest.raises(InputError) as info:
        TrainConfig.from_mapping(values, source="runs/a/config.json")
    assert str(info.value).startswith("runs/a/config.json: ")
    assert named in str(info.value)


# Resolving and comparing


def test_resolve_fills_in_what_was_left_open():
    done = resolve(config(epochs=300, batch_size=64), image_size=32, horizontal_flip=True)
    assert (done.data.image_size, done.augmentation.horizontal_flip) == (32, "yes")
    assert done.augmentation.crop_padding == 4
    assert (done.optimization.warmup_epochs, done.mine.learning_rate) == (5.0, 1e-4)
    assert (done.mine.samples, done.performance.evaluation_batch_size) == (64, 64)


@pytest.mark.parametrize(
    ("given", "size", "filled"),
    [
        ({}, 8, {"crop_padding": 1, "horizontal_flip": "no"}),
        ({}, 4, {"crop_padding": 1}),
        ({}, 224, {"crop_padding": 28}),
        ({"epochs": 10}, 8, {"warmup_epochs": 2.0}),
        ({"epochs": 1}, 8, {"warmup_epochs": 0.2}),
        ({"mine_schedule": "epoch"}, 8, {"mine_learning_rate": 0.01}),
        ({}, 8, {"weight_decay": 0.05}),
        ({"optimizer": "muon"}, 8, {"weight_decay": 0.05}),
        ({"optimizer": "sgd"}, 8, {"weight_decay": 5e-4}),
        ({"optimizer": "sgd", "weight_decay": 0.0}, 8, {"weight_decay": 0.0}),
    ],
)
def test_resolve_depends_on_data_and_other_flags(given, size, filled):
    done = resolve(config(**given), image_size=size, horizontal_flip=False)
    assert {name: done.flat()[name] for name in filled} == filled


def test_resolve_keeps_what_was_given():
    given = {
        "image_size": 16,
        "horizontal_flip": "yes",
        "crop_padding": 0,
        "warmup_epochs": 0.0,
        "mine_learning_rate": 0.5,
        "mine_samples": 10,
        "evaluation_batch_size": 7,
    }
    done = resolve(config(**given), image_size=16, horizontal_flip=False)
    assert {name: done.flat()[name] for name in given} == given


@pytest.mark.parametrize("values", [{}, FULL])
def test_resolve_is_done_once(values):
    once = resolve(config(**values), image_size=64, horizontal_flip=False)
    assert resolve(once, image_size=64, horizontal_flip=False) == once


# Place, cadence, logging, strategy and performance; everything else shapes the result.
MAY_CHANGE = {
    "data_dir",
    "decoded_dir",
    "evaluate_every_epochs",
    "checkpoint_every_steps",
    "keep_checkpoints",
    "save_failures_allowed",
    "data_stall_seconds",
    "cluster_wait_seconds",
    "log_every_steps",
    "profile_steps",
    "strategy",
    "logical_cpus",
    "mixed_precision",
    "jit_compile",
    "rematerialize",
    "steps_per_call",
    "evaluation_batch_size",
    "teacher_cache",
    "teacher_cache_mode",
    "teacher_check",
}


def changed(name: str) -> Any:
    """A legal value of an option that is not its default."""
    option, default = OPTIONS[name], DEFAULTS[name]
    if option.repeated:
        return ("runs/other",)
    if option.choices:
        return next(c for c in option.choices if c not in (default, "none", "soft", "hard"))
    if option.kind is bool:
        return not default
    if option.kind is str:
        return "elsewhere"
    candidates = [2, 1, 3] if option.kind is int else [1e-4, 0.25, 1.5]
    return next(v for v in candidates if v != default and option.check(v))


@pytest.mark.parametrize("name", [n for n in OPTIONS if n != "distillation"])
def test_which_flags_may_change_when_a_run_continues(name):
    base = config(distillation="hard", teacher=("runs/a",), mine_weight=0.1, batch_size=12)
    base = base.replace(epochs=30, tokens="both")
    if name == "tokens":
        base = base.replace(mine_weight=0.0)
    if name == "objective":
        base = base.replace(mine_weight=0.0)
    if name in ("teacher_cache_mode", "teacher_cache_top_k"):
        base = base.replace(teacher_cache="labels", distillation="soft")
    other = base.replace(**{name: changed(name)})
    assert other != base
    found = differing_options(base, other)
    if name in MAY_CHANGE:
        assert found == []
    else:
        (sentence,) = found
        assert sentence.startswith(f"{name}=")
        assert ", now " in sentence


def test_differing_options_shows_old_and_new():
    old = config(epochs=3, seed=1)
    new = config(epochs=3, seed=2, patch_size=4, teacher=("a", "b"))
    assert differing_options(old, new) == [
        "patch_size=(not given), now 4",
        "teacher=[], now [a; b]",
        "seed=1, now 2",
    ]


def filled(**given):
    return resolve(config(**given), image_size=8, horizontal_flip=False)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ({"batch_size": 16}, {"batch_size": 20}, ["batch_size"]),
        ({"epochs": 3}, {"epochs": 4}, ["epochs"]),
        ({"optimizer": "adamw"}, {"optimizer": "sgd"}, ["optimizer"]),
        ({"mine_schedule": "step"}, {"mine_schedule": "epoch"}, ["mine_schedule"]),
        # Those that were given are named.
        (
            {"batch_size": 16},
            {"batch_size": 20, "mine_samples": 40},
            ["mine_samples", "batch_size"],
        ),
        ({"batch_size": 16}, {"batch_size": 16, "mine_samples": 32}, ["mine_samples"]),
        ({"epochs": 3}, {"epochs": 3, "warmup_epochs": 0.0}, ["warmup_epochs"]),
    ],
)
def test_what_follows_from_another_option_is_not_named_beside_it(old, new, named):
    found = differing_options(filled(**old), filled(**new))
    assert [text.partition("=")[0] for text in found] == named


# Options of the model


def test_model_options_are_those_that_were_set():
    assert config().model.architecture() == {}
    given = {"patch_size": 4, "width": 96, "gelu": "tanh", "stochastic_depth": 0.1}
    assert config(**given, epochs=3).model.architecture() == given


def test_distillation_auto_is_soft_where_there_is_a_teacher():
    assert TrainConfig(distillation="auto", teacher=("x",)).flat()["distillation"] == "soft"
    assert TrainConfig(distillation="auto").flat()["distillation"] == "none"
    assert not TrainConfig(distillation="auto").distillation.has_student_heads


def test_the_usual_model_and_its_name_are_no_difference():
    assert differing_options(TrainConfig(), TrainConfig(model="mixer_s16")) == []
    differing = differing_options(TrainConfig(), TrainConfig(model="mixer_b16"))
    assert differing == ["model=mixer_s16, now mixer_b16"]
