"""Weights that come with the package, by name: `std_keras:NAME`.

Each is a folder in `std_keras/runs/pretrained/` that `std-keras pack` made from a finished run: a
run directory with weights in float16, a model card, and checksums of every file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from std_keras.errors import InputError
from std_keras.runs.origin import LICENSE

PREFIX = "std_keras:"
CHECKSUMS = "SHA256SUMS"
# The parts of model.keras again, as Keras loads them from a folder on the hub.
FOR_KERAS = ("model.weights.h5", "metadata.json")
# A run needs no more than FILES; a download from the hub may have no more.
_OPTIONAL = (*FOR_KERAS, LICENSE)
FILES = ("model.keras", "config.json", "labels.txt", "result.json", "README.md")


def folder() -> Path:
    """Where the packed weights are."""
    return Path(__file__).resolve().parent / "pretrained"


def names() -> tuple[str, ...]:
    """The packed weights that there are."""
    found = folder().glob(f"*/{CHECKSUMS}")
    return tuple(sorted(path.parent.name for path in found))


def located(source: str, *, flag: str) -> str:
    """The run directory of `std_keras:NAME`, its checksums verified; other sources as they are.

    Args:
        source: what the user named.
        flag: the argument that named it, for errors.

    Raises:
        InputError: if there are no such weights, or a file is not the one that was packed.
    """
    if not source.startswith(PREFIX):
        return source
    name = source.removeprefix(PREFIX)
    path = folder() / name
    if not is_name(name) or not (path / CHECKSUMS).is_file():
        have = ", ".join(names()) or "none"
        raise InputError(
            f"{flag}={source}: no weights of that name are packed (there are: {have}); train "
            f"them, then run `std-keras pack RUN_DIRECTORY --name={name or 'NAME'}`"
        )
    verify(path, flag=f"{flag}={source}")
    return str(path)


def is_name(name: str) -> bool:
    """Whether packed weights may be called so: one folder, and no other place."""
    return re.fullmatch(r"[A-Za-z0-9][\w-]*", name) is not None


def checksums(path: Path) -> dict[str, str]:
    """The SHA-256 of each file that packed weights consist of."""
    extra = [name for name in _OPTIONAL if (path / name).is_file()]
    return {name: _digest(path / name) for name in (*FILES, *extra)}


def write_checksums(path: Path) -> None:
    """Writes the file that `sha256sum -c` reads, too."""
    lines = [f"{digest}  {name}\n" for name, digest in checksums(path).items()]
    (path / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def verify(path: Path, *, flag: str) -> None:
    """Compares every file with its checksum.

    Raises:
        InputError: if one is missing or differs.
    """
    wanted = _read(path / CHECKSUMS)
    for name in FILES:
        if name not in wanted:
            raise InputError(f"{flag}: {path / CHECKSUMS} has no checksum of {name}; pack it again")
    extra = [name for name in _OPTIONAL if name in wanted and (path / name).exists()]
    for name in (*FILES, *extra):
        try:
            found = _digest(path / name)
        except OSError as error:
            raise InputError(
                f"{flag}: {path / name} cannot be read: {error.strerror}; restore it or pack it "
                "again with std-keras pack"
            ) from error
        if found != wanted[name]:
            raise InputError(
                f"{flag}: {path / name} is damaged or was changed: its SHA-256 is {found[:12]}..., "
                f"not {wanted[name][:12]}...; restore it or pack it again with std-keras pack"
            )


def _read(path: Path) -> Mapping[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    pairs = (line.split("  ", 1) for line in lines if "  " in line)
    return {name: digest for digest, name in pairs}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
