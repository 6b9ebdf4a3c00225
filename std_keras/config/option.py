"""What an option is: its default, its meaning, its limits; and a group of options."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from std_keras.errors import InputError


@dataclass(frozen=True)
class Option:
    """One option of a program or of a function.

    Attributes:
        topic: the heading under which `--help` lists it.
        help: one sentence for `--help`.
        choices: the legal values, if they can be listed.
        check: whether a value is legal; `wanted` describes the legal values.
        wanted: the legal values, in words, after "must be".
        shapes_result: whether a continued run must have the same value.
        repeated: whether the flag may be repeated.
        kind: the Python type of a value that is not None.
        flag: its name on the command line and in `config.json`, if not the field's name.
    """

    topic: str
    help: str
    kind: type
    choices: tuple[str, ...] = ()
    check: Callable[[Any], bool] | None = None
    wanted: str = ""
    shapes_result: bool = True
    repeated: bool = False
    flag: str = ""


def option_field(default: Any, kind: type, help: str, **more: Any) -> Any:
    """A field of an `OptionGroup`; `more` are further attributes of `Option`."""
    option = Option(topic="", help=help, kind=kind, **more)
    return dataclasses.field(default=default, metadata={"option": option})


@dataclass(frozen=True, kw_only=True)
class OptionGroup:
    """Base of the frozen data classes whose fields are options; it checks their values.

    Attributes:
        topic: the heading under which `--help` lists the group.

    Raises:
        InputError: if a value is outside its limits.
    """

    topic: ClassVar[str]

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None or field.default is not None:
                option = field.metadata["option"]
                check_value(option.flag or field.name, option, value)

    @classmethod
    def options(cls) -> dict[str, tuple[str, Option]]:
        """By flag, the name of the field and the option, in the order of definition."""
        found = {}
        for field in dataclasses.fields(cls):
            option = field.metadata["option"]
            found[option.flag or field.name] = (
                field.name,
                dataclasses.replace(option, topic=cls.topic),
            )
        return found


# Limits that many options share.
POSITIVE: dict[str, Any] = {"check": lambda v: v > 0, "wanted": "a number above 0"}
COUNT: dict[str, Any] = {"check": lambda v: v >= 1, "wanted": "an integer of at least 1"}
MOST_THREADS = 256  # TensorFlow Lite crashes where it cannot start thousands.
THREADS: dict[str, Any] = {
    "check": lambda v: 1 <= v <= MOST_THREADS,
    "wanted": f"between 1 and {MOST_THREADS}",
}
NATURAL: dict[str, Any] = {"check": lambda v: v >= 0, "wanted": "0 or more"}
FRACTION: dict[str, Any] = {
    "check": lambda v: 0 <= v < 1,
    "wanted": "a fraction from 0 to below 1",
}
PART: dict[str, Any] = {"check": lambda v: 0 <= v <= 1, "wanted": "a fraction between 0 and 1"}

# Headings of `--help`.
DATA, AUGMENTATION, MODEL = "Data", "Augmentation", "Model"
DISTILLATION, MINE = "Distillation", "Mutual information (MINE)"
OPTIMIZATION, RUN, PERFORMANCE = "Optimization", "Run directory and cadence", "Performance"


def check_value(name: str, option: Option, value: Any) -> None:
    """Raises an InputError that names the argument unless `value` is a legal one."""
    if option.repeated and not isinstance(value, tuple):
        raise InputError(f"{name}={value!r} must be a tuple of strings")
    values = value if option.repeated else (value,)
    for item in values:
        number = option.kind is float and isinstance(item, (int, float))
        if isinstance(item, bool) is not (option.kind is bool) or not (
            number or isinstance(item, option.kind)
        ):
            raise InputError(f"{name}={item!r} must be {_KINDS[option.kind]}")
        if option.kind is float and not math.isfinite(item):
            raise InputError(f"{name}={item} must be a finite number")
        if option.choices and item not in option.choices:
            raise InputError(f"{name}={item} must be one of {', '.join(option.choices)}")
        if option.check and not option.check(item):
            raise InputError(f"{name}={item} must be {option.wanted}")


_KINDS: dict[type, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
}
