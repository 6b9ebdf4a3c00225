"""Flag files: one flag a line (`flag_line`), other files included relative to the file itself.

absl resolves a nested `--flagfile` against the working directory, and lets a repeatable flag pile
up over all layers. Here a layer that names a repeatable flag replaces what the layers it includes
said, as it does for every other flag.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from std_keras.errors import InputError
from std_keras.files.paths import user_path
from std_keras.files.texts import read_text
from std_keras.programs import flag_line, installation

_DIRECTIVE = re.compile(r"^--?flagfile(?:=(.*))?$")


def shipped_directory() -> Path:
    """The folder of the flag files that come with the package (a checkout's, or the wheel's)."""
    root = installation.checkout()
    return root / "flags" if root else Path(__file__).resolve().parent.parent / "flag_files"


def expand(
    arguments: Sequence[str], *, repeated: Collection[str], base: Path | None = None
) -> list[str]:
    """Replaces every `--flagfile=FILE` by the flags of the file.

    Args:
        arguments: command-line arguments, without the program's name.
        repeated: names of the flags that may be given several times.
        base: the folder that relative names start from; the working directory if not given.

    Returns:
        Arguments in which a later one overrides an earlier one.

    Raises:
        InputError: if a file is missing, unreadable, or includes itself.
    """
    return _expand(list(arguments), repeated=repeated, base=base or Path(), inside=())


def _expand(
    arguments: list[str], *, repeated: Collection[str], base: Path, inside: tuple[Path, ...]
) -> list[str]:
    own: list[str] = []
    result: list[tuple[bool, str]] = []
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        match = _DIRECTIVE.match(argument)
        if match is None:
            own.append(argument)
            result.append((True, argument))
            continue
        name = match.group(1)
        if name is None:
            if position == len(arguments):
                raise InputError("--flagfile has no value; write --flagfile=FILE")
            name = arguments[position]
            position += 1
        path = _find(name, base)
        if path in inside:
            raise InputError(f"--flagfile={name} includes itself: {path}")
        included = _expand(
            _lines(path), repeated=repeated, base=path.parent, inside=(*inside, path)
        )
        result.extend((False, line) for line in included)
    replaced = {n for n in repeated if any(_names(a, n) for a in own)}
    return [a for mine, a in result if mine or not any(_names(a, n) for n in replaced)]


def _names(argument: str, flag: str) -> bool:
    return re.match(rf"^--?{re.escape(flag)}(=|$)", argument) is not None


def _find(name: str, base: Path) -> Path:
    if not name.strip():
        raise InputError("--flagfile has an empty value; write --flagfile=FILE or leave it out")
    path = (base / user_path(name)).resolve()
    if path.is_file():
        return path
    shipped = shipped_directory() / Path(name).name
    if base == Path() and shipped.is_file():  # Where they are is the package's affair.
        return shipped
    raise InputError(
        f"--flagfile={name}: no such file; looked for {path} and for a shipped flag file in "
        f"{shipped_directory()}"
    )


def _lines(path: Path) -> list[str]:
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--flagfile={path} cannot be read as text: {error}") from error
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if line and not line.startswith(("#", "//")):
            lines.append(flag_line.read(line, where=f"{path}, line {number}"))
    return lines
