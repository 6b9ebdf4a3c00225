"""Arguments as flags: the library's messages name arguments, a program's user knows flags.

The library says `batch_size=3 is not divisible by accumulation_steps=2`, which is what its caller
wrote. On the command line that becomes `--batch_size=3 ...`, `jit_compile=False` becomes
`--nojit_compile`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_known: set[str] = set()


def know(names: Iterable[str], *, too: bool = False) -> None:
    """Says which flags the program that runs has; `as_flags` turns these names alone.

    Args:
        names: of the flags.
        too: besides those that it is known to have: they are of a program that it starts.
    """
    if not too:
        _known.clear()
    _known.update(names)


def as_flags(message: str) -> str:
    """A message of the library with its arguments written as flags.

    What stands between backticks is a name, which becomes a flag, or code, which stays.
    """
    if not _known:
        return message
    names = "|".join(sorted(map(re.escape, _known), key=len, reverse=True))
    # Not in the middle of a path, of another word, or of what is a flag already.
    argument = re.compile(rf"(?<![\w./,:\[{{'\"-])({names})=(True\b|False\b)?")
    parts = message.split("`")
    for index, part in enumerate(parts):
        quoted = index % 2 == 1 and index < len(parts) - 1
        if not quoted:
            parts[index] = argument.sub(_flag, part)
        else:
            parts[index] = f"--{part}" if part in _known else f"`{part}`"
    # An odd backtick at the end is the writer's own.
    return "`".join(("".join(parts[:-1]), parts[-1])) if len(parts) % 2 == 0 else "".join(parts)


def _flag(match: re.Match[str]) -> str:
    name, truth = match.groups()
    if truth is None:
        return f"--{name}="
    return f"--{name}" if truth == "True" else f"--no{name}"
