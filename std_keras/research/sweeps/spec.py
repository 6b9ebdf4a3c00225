"""What a sweep is: a TOML file that names arms, seeds and teachers.

    title = "Does STD help a small Mixer?"
    flags = "--flagfile=../cifar100_study_mixer.flags"   # Of every arm.
    seeds = [0, 1, 2]
    teacher_cache = true       # All arms reuse cached teacher predictions (--teacher_cache).

    [teachers]                 # Trained first, where they are missing.
    small = "--flagfile=../cifar100_resnet20.flags --model_dir=runs/cifar100_resnet20"
    large = "std_keras:cifar100_resnet56"   # Any other source that --teacher takes.
    nasty = "--objective=nasty --teacher={small} --model_dir=runs/nasty"   # After those it names.

    [arms]                     # Flags on top of those of every arm; {small} is that teacher.
    baseline = "--distillation=none"
    both_tokens = "--distillation=hard --teacher={small},site=last"

Flag files are found relative to the TOML file, run directories relative to where the command is
given. An arm that names a teacher replaces the teachers that `flags` name.

Each run has its seed as `--seed`, for the first weights and dropout; images and their augmentation
are the same for all seeds, which share one cache. `{seed}` in flags is that number: a run that
starts from given weights needs `--data_seed={seed}`, or all its seeds are one and the same run.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from std_keras.config import options
from std_keras.errors import InputError
from std_keras.files.paths import user_path
from std_keras.files.texts import read_text
from std_keras.programs import flagfiles

_KEYS: dict[str, tuple[type, str]] = {
    "title": (str, "a string"),
    "about": (str, "a string"),
    "flags": (str, "a string of flags"),
    "seeds": (list, "a list of integers"),
    "teacher_cache": (bool, "true or false"),
    "teachers": (dict, "a table of strings"),
    "arms": (dict, "a table of strings"),
}
_SEED = "seed"
_REPEATED = [name for name, option in options().items() if option.repeated]


@dataclass(frozen=True)
class TeacherSource:
    """A teacher of a sweep.

    Attributes:
        source: what `--teacher` is given.
        flags: those that train it; None if it must be there already.
    """

    source: str
    flags: tuple[str, ...] | None


@dataclass(frozen=True)
class Spec:
    """A sweep, as its file says it; flag files are read already."""

    path: Path
    title: str
    about: str
    flags: tuple[str, ...]
    seeds: tuple[int, ...]
    teacher_cache: bool
    teachers: Mapping[str, TeacherSource]
    arms: Mapping[str, tuple[str, ...]]

    def arm_flags(self, arm: str, *, seed: int, sources: Mapping[str, str]) -> list[str]:
        """The flags of every arm, then those of this one, with `{NAME}` replaced by sources.

        `{seed}` becomes the seed.

        Raises:
            InputError: if it names a teacher that the file does not have.
        """
        own = self.arms[arm]
        named = [n for n in _REPEATED if any(_names(flag, n) for flag in own)]
        common = [f for f in self.flags if not any(_names(f, n) for n in named)]
        values = {**sources, _SEED: str(seed)}
        return [_filled(f, values, where=f"{self.path}, arm {arm}") for f in (*common, *own)]

    def teacher_flags(self, teacher: str, *, sources: Mapping[str, str]) -> list[str]:
        """The flags that train a teacher, with `{NAME}` replaced by sources of earlier teachers.

        Raises:
            InputError: if it names a teacher that does not stand before it.
        """
        earlier = {}
        for name in self.teachers:
            if name == teacher:
                break
            earlier[name] = sources[name]
        flags = self.teachers[teacher].flags or ()
        return [_filled(f, earlier, where=f"{self.path}, teacher {teacher}") for f in flags]


def find(name: str) -> Path:
    """The file of that name; if it does not exist, the one that comes with the package."""
    path = user_path(name)
    shipped = flagfiles.shipped_directory() / "sweeps" / path.name
    return shipped if not path.exists() and shipped.is_file() else path


def read(path: Path) -> Spec:
    """Reads a sweep.

    Raises:
        InputError: if the file is missing, no TOML, or says something that a sweep cannot be.
    """
    try:
        values = tomllib.loads(read_text(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read as a sweep: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    _check(values, path)
    teachers = {
        name: _teacher(text, where=f"{path}, teacher {name}", base=path.parent)
        for name, text in values.get("teachers", {}).items()
    }
    return Spec(
        path=path,
        title=values.get("title", path.stem),
        about=values.get("about", "").strip(),
        flags=_flags(values.get("flags", ""), where=f"{path}, flags", base=path.parent),
        seeds=tuple(values["seeds"]),
        teacher_cache=values.get("teacher_cache", False),
        teachers=teachers,
        arms={
            name: _flags(text, where=f"{path}, arm {name}", base=path.parent)
            for name, text in values["arms"].items()
        },
    )


def _check(values: Mapping[str, Any], path: Path) -> None:
    for key, value in values.items():
        if key not in _KEYS:
            raise InputError(
                f"{path}: {key!r} is not a key of a sweep; the keys are {', '.join(_KEYS)}"
            )
        kind, wanted = _KEYS[key]
        if not isinstance(value, kind):
            raise InputError(f"{path}: {key} = {value!r} must be {wanted}")
        if isinstance(value, dict):
            for name, text in value.items():
                if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name):
                    raise InputError(
                        f"{path}: {name!r} in [{key}] becomes a file name; use letters, digits, _ -"
                    )
                if not isinstance(text, str):
                    raise InputError(f"{path}: {key}.{name} = {text!r} must be a string of flags")
    if _SEED in values.get("teachers", {}):
        raise InputError(f"{path}: {{{_SEED}}} is the seed of a run; name that teacher otherwise")
    seeds = values.get("seeds")
    if not seeds or any(type(s) is not int or s < 0 for s in seeds) or len({*seeds}) < len(seeds):
        raise InputError(f"{path}: seeds = {seeds} must be distinct integers, such as [0, 1]")
    if not values.get("arms"):
        raise InputError(f'{path} has no [arms]; write one line NAME = "--flag=value" for each')


def _teacher(text: str, *, where: str, base: Path) -> TeacherSource:
    if f"{{{_SEED}}}" in text:
        raise InputError(f"{where}: a teacher is one for all seeds, so it cannot have {{{_SEED}}}")
    if not text.startswith("-"):
        return TeacherSource(source=text, flags=None)
    given = _flags(text, where=where, base=base)
    folders = [f.partition("=")[2] for f in given if _names(f, "model_dir")]
    if len(folders) != 1 or not folders[0]:
        raise InputError(f"{where}: {text!r} must name one --model_dir=DIR to train it in")
    return TeacherSource(
        source=folders[0], flags=tuple(f for f in given if not _names(f, "model_dir"))
    )


def _flags(text: str, *, where: str, base: Path) -> tuple[str, ...]:
    try:
        return tuple(flagfiles.expand(shlex.split(text), repeated=_REPEATED, base=base.resolve()))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except ValueError as error:
        raise InputError(f"{where}: {text!r} cannot be split into flags: {error}") from error


def _filled(flag: str, sources: Mapping[str, str], *, where: str) -> str:
    def source(match: re.Match[str]) -> str:
        if match[1] not in sources:
            known = ", ".join(name for name in sources if name != _SEED) or "none"
            raise InputError(f"{where}: {flag} names no teacher of the sweep; there are {known}")
        return sources[match[1]]

    return re.sub(r"\{([^{}]*)\}", source, flag)


def _names(argument: str, flag: str) -> bool:
    return re.match(rf"^--?{re.escape(flag)}(=|$)", argument) is not None


def without(arguments: Sequence[str], flag: str) -> list[str]:
    """The arguments without one flag."""
    return [a for a in arguments if not _names(a, flag)]
