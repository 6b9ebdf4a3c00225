"""What one training run is: the groups of options, as one value.

The flags are made from it (`std_keras/programs/flags.py`), `config.json` records it, and a
continued run is compared with it. On the command line and in the file options are flat; here they
are grouped.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from std_keras.config.agreement import check_agreement
from std_keras.config.augmentation import AugmentationOptions, resolved_augmentation
from std_keras.config.data import DataOptions
from std_keras.config.distillation import DistillationOptions
from std_keras.config.mine import MineOptions
from std_keras.config.model import ModelOptions
from std_keras.config.optimization import OptimizationOptions
from std_keras.config.option import Option, OptionGroup
from std_keras.config.performance import PerformanceOptions
from std_keras.config.run import RunOptions
from std_keras.errors import InputError

GROUPS: dict[str, type[OptionGroup]] = {
    "data": DataOptions,
    "augmentation": AugmentationOptions,
    "model": ModelOptions,
    "distillation": DistillationOptions,
    "mine": MineOptions,
    "optimization": OptimizationOptions,
    "run": RunOptions,
    "performance": PerformanceOptions,
}
# Group and field of each flag.
_PLACES = {
    flag: (group, field)
    for group, kind in GROUPS.items()
    for flag, (field, _) in kind.options().items()
}
_OPTIONS = {flag: o for kind in GROUPS.values() for flag, (_, o) in kind.options().items()}
_DEFAULTS = {
    flag: next(f.default for f in dataclasses.fields(GROUPS[group]) if f.name == field)
    for flag, (group, field) in _PLACES.items()
}


@dataclass(frozen=True, init=False)
class TrainConfig:
    """One training run of a student, a baseline or a teacher.

    Made from options by the names of their flags, `TrainConfig(dataset="cifar100", epochs=20)`,
    and read by group, `config.optimization.epochs`.

    Args:
        options: options that differ from their defaults; `std-keras train --help` lists all.

    Raises:
        InputError: for an option that does not exist, a value outside its limits, or options that
            contradict each other.
    """

    data: DataOptions
    augmentation: AugmentationOptions
    model: ModelOptions
    distillation: DistillationOptions
    mine: MineOptions
    optimization: OptimizationOptions
    run: RunOptions
    performance: PerformanceOptions

    def __init__(self, **options: Any) -> None:
        given: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
        for flag, value in options.items():
            if flag not in _PLACES:
                raise InputError(f"unknown option {flag}")
            group, field = _PLACES[flag]
            given[group][field] = value
        for group, kind in GROUPS.items():
            object.__setattr__(self, group, kind(**given[group]))
        check_agreement(
            distillation=self.distillation, mine=self.mine, optimization=self.optimization
        )

    def replace(self, **options: Any) -> TrainConfig:
        """A configuration with other values of some options."""
        return TrainConfig(**{**self.flat(), **options})

    def flat(self) -> dict[str, Any]:
        """All options by the names of their flags."""
        return {flag: getattr(getattr(self, g), field) for flag, (g, field) in _PLACES.items()}

    def to_json(self) -> str:
        """The configuration as JSON, one key per flag."""
        return json.dumps(self.flat(), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, source: str) -> TrainConfig:
        """Makes a configuration from parsed JSON.

        Args:
            values: options by flag; those that are not named keep their defaults.
            source: the file that is named in errors.

        Raises:
            InputError: for an option that does not exist or a value of the wrong kind.
        """
        lists = {n for n, option in _OPTIONS.items() if option.repeated}
        clean = {
            name: tuple(value) if name in lists and isinstance(value, list) else value
            for name, value in values.items()
        }
        try:
            return cls(**clean)
        except InputError as error:
            raise InputError(f"{source}: {error}") from error


def options() -> dict[str, Option]:
    """Every option by the name of its flag, in the order of definition."""
    return dict(_OPTIONS)


def defaults() -> dict[str, Any]:
    """The default of every option by the name of its flag."""
    return dict(_DEFAULTS)


def resolve(config: TrainConfig, *, image_size: int, horizontal_flip: bool) -> TrainConfig:
    """Fills in what depends on other options and on the data set.

    Args:
        config: as the user gave it.
        image_size: side of the data set's images in pixels.
        horizontal_flip: whether a mirrored image of the data set keeps its class.
    """
    filled: dict[str, Any] = {"image_size": image_size, "model": config.model.name}
    filled |= resolved_augmentation(
        config.augmentation, image_size=image_size, flip_keeps_class=horizontal_flip
    )
    given = config.flat()
    for name, derived in _DERIVED.items():
        if given[name] == _DEFAULTS[name]:
            filled[name] = derived.value(given)
    return config.replace(**filled)


@dataclass(frozen=True)
class _Derived:
    """What an option is that was not given: made of another one."""

    source: str
    value: Callable[[Mapping[str, Any]], Any]


_DERIVED = {
    "warmup_epochs": _Derived("epochs", lambda flat: min(5.0, flat["epochs"] / 5)),
    # sgd adds it to the gradient, which its learning rate of about 0.1 multiplies.
    "weight_decay": _Derived(
        "optimizer", lambda flat: 5e-4 if flat["optimizer"] == "sgd" else 0.05
    ),
    "mine_learning_rate": _Derived(
        "mine_schedule", lambda flat: 1e-4 if flat["mine_schedule"] == "step" else 0.01
    ),
    "mine_samples": _Derived("batch_size", lambda flat: flat["batch_size"]),
    "evaluation_batch_size": _Derived("batch_size", lambda flat: flat["batch_size"]),
}


def with_model_of(config: TrainConfig, model: ModelOptions) -> TrainConfig:
    """The configuration with a model's options in place of those that were not given.

    Args:
        config: as the user gave it.
        model: of the run that it starts from, or continues.
    """
    given = config.flat()
    theirs = {flag: getattr(model, field) for flag, (field, _) in ModelOptions.options().items()}
    return config.replace(**{n: value for n, value in theirs.items() if given[n] is None})


def differing_options(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Names the options that shape the result and differ, as `name=old, now new`.

    One that follows from another, in both, is not named beside that: nobody gave it.
    """
    # A model that is not named, and its name, are the same.
    before, after = ({**config.flat(), "model": config.model.name} for config in (old, new))
    differing = {n for n, o in _OPTIONS.items() if o.shapes_result and before[n] != after[n]}
    followed = {
        name
        for name, derived in _DERIVED.items()
        if derived.source in differing
        and all(flat[name] in (derived.value(flat), _DEFAULTS[name]) for flat in (before, after))
    }
    return [
        f"{name}={_shown(before[name])}, now {_shown(after[name])}"
        for name in _OPTIONS
        if name in differing - followed
    ]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + "; ".join(value) + "]"
    return "(not given)" if value is None else str(value)
