"""Places of a machine, which are left out of what is published."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from std_keras.config import TrainConfig

# `/home/me/run,site=last,labels=classes.txt`: where, and options, of which one alone is a path.
_WITH_OPTIONS = re.compile(r"(.*?)((?:,(?:labels=[^,]*|[a-z_]+=[^,/\\]*))*)", re.DOTALL)
_LABELS = re.compile(r"(?<=,labels=)[^,]+")
# `folder:/home/me/photos`, `~/cache`: what it is, where, its name.
_PLACE = re.compile(r"([a-z_]+:)?(?:/|~|[A-Za-z]:\\)(?:.*[/\\])?([^/\\]+?)[/\\]*", re.DOTALL)


def without_places(config: TrainConfig) -> TrainConfig:
    """The configuration with the last part alone of every absolute path in it.

    Relative paths are kept: they say how files lie together, and not on whose machine.
    """
    return config.replace(**{name: _shown(value) for name, value in config.flat().items()})


def result_without_places(result: Mapping[str, Any]) -> dict[str, Any]:
    """A run's result, with the last part alone of what `teach` was asked for."""
    taught = result.get("taught")
    if not taught:
        return dict(result)
    asked = {name: _shown(value) for name, value in taught.get("asked", {}).items()}
    return {**result, "taught": {**taught, "asked": asked}}


def _shown(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(_shown(part) for part in value)
    if not isinstance(value, str):
        return value
    found = _WITH_OPTIONS.fullmatch(value)
    assert found is not None  # It takes any text.
    source, options = found.groups()
    return _last(source) + _LABELS.sub(lambda file: _last(file[0]), options)


def _last(place: str) -> str:
    found = None if "://" in place else _PLACE.fullmatch(place)
    return "".join(part or "" for part in found.groups()) if found else place
