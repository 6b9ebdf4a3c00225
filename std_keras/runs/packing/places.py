"""Places of a machine, which are left out of what is published."""

from __future__ import annotations

import re
from typing import Any

from std_keras.config import TrainConfig

# `folder:/home/me/photos`, `/home/me/run,site=last`, `~/cache`: what it is, where, its name, more.
_PLACE = re.compile(
    r"([a-z_]+:)?(?:/|~|[A-Za-z]:\\)(?:.*[/\\])?([^/\\]+?)[/\\]*((?:,[a-z_]+=[^,]*)*)"
)


def without_places(config: TrainConfig) -> TrainConfig:
    """The configuration with the last part alone of every absolute path in it.

    Relative paths are kept: they say how files lie together, and not on whose machine.
    """
    return config.replace(**{name: _shown(value) for name, value in config.flat().items()})


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_shown(part) for part in value)
    if not isinstance(value, str) or "://" in value:
        return value
    found = _PLACE.fullmatch(value)
    return "".join(part or "" for part in found.groups()) if found else value
