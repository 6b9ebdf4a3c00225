"""What a flag is: its default, its meaning, its limits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from std_keras.errors import InputError


@dataclass(frozen=True)
class Option:
    """The metadata of one field of `TrainConfig`.

    Attributes:
        topic: the heading under which `--help` lists it.
        help: one sentence for `--help`.
        choices: the legal values, if they can be listed.
        check: tells whether a value is legal, with `wanted` saying what would be.
        wanted: what is legal, in words.
        shapes_result: whether a continued run must have the same value.
        repeated: whether the flag may be given several times.
        kind: the Python type of a value that is not None.
    """

    topic: str
    help: str
    kind: type
    choices: tuple[str, ...] = ()
    check: Callable[[Any], bool] | None = None
    wanted: str = ""
    shapes_result: bool = True
    repeated: bool = False


def option_field(default: Any, topic: str, kind: type, help: str, **more: Any) -> Any:
    """A data class's field that is an option; `more` are further attributes of `Option`."""
    option = Option(topic=topic, help=help, kind=kind, **more)
    return dataclasses.field(default=default, metadata={"option": option})


POSITIVE: dict[str, Any] = {"check": lambda v: v > 0, "wanted": "a number above 0"}
COUNT: dict[str, Any] = {"check": lambda v: v >= 1, "wanted": "a whole number of at least 1"}
NATURAL: dict[str, Any] = {"check": lambda v: v >= 0, "wanted": "0 or more"}
FRACTION: dict[str, Any] = {"check": lambda v: 0 <= v < 1, "wanted": "at least 0 and below 1"}
PART: dict[str, Any] = {"check": lambda v: 0 <= v <= 1, "wanted": "between 0 and 1"}

DATA, AUGMENTATION, MODEL = "Data", "Augmentation", "Model"
DISTILLATION, MINE = "Distillation", "Mutual information (MINE)"
OPTIMIZATION, RUN, PERFORMANCE = "Optimization", "Run directory and cadence", "Performance"
TOPICS = (DATA, AUGMENTATION, MODEL, DISTILLATION, MINE, OPTIMIZATION, RUN, PERFORMANCE)


def check_value(name: str, option: Option, value: Any) -> None:
    """Raises an InputError that names the flag unless `value` is a legal one."""
    if option.repeated and not isinstance(value, tuple):
        raise InputError(
            f"--{name}={value!r} is not a tuple of texts, one for each time it is given"
        )
    values = value if option.repeated else (value,)
    for item in values:
        number = option.kind is float and isinstance(item, (int, float))
        if isinstance(item, bool) is not (option.kind is bool) or not (
            number or isinstance(item, option.kind)
        ):
            raise InputError(f"--{name}={item!r} is not {_KINDS[option.kind]}")
        if option.kind is float and not math.isfinite(item):
            raise InputError(f"--{name}={item} is not a finite number")
        if option.choices and item not in option.choices:
            raise InputError(f"--{name}={item} is not one of {', '.join(option.choices)}")
        if option.check and not option.check(item):
            raise InputError(f"--{name}={item} is outside its limits; it must be {option.wanted}")


_KINDS: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}
