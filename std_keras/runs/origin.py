"""Where a run's weights are from, as its files say it: `origin` of `result.json`.

Weights that came from elsewhere have an origin: converted, resized, or those that a run started
from. One that started keeps the origin of its source under `origin` again, and its licence: whoever
gives the weights on must know it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from std_keras.runs.run_directory import RunDirectory

LICENSE = "LICENSE"
# Names by which anybody finds the weights; the place of a folder is nobody's business.
_PUBLIC = ("std_keras:", "hf-hub:", "hf://", "keras:", "keras_hub:", "keras_cv:")


def license_of(result: Mapping[str, Any]) -> str | None:
    """The licence of a run's weights, as `result.json` states it; None if it does not.

    That under which they were packed counts first, then that of where they are from.
    """
    for part in ("packed", "origin"):
        stated = (result.get(part) or {}).get("license")
        if stated:
            return str(stated)
    return None


def started_from(
    name: str, run: RunDirectory | None = None, *, file: Path | None = None
) -> dict[str, Any]:
    """The origin of weights that begin with others.

    Args:
        name: what the user called the others.
        run: their run directory, if they have one; it need not be finished.
        file: the weights' file, if there is one.
    """
    result: Mapping[str, Any] = {}
    if run is not None and run.result_file.is_file():
        result = run.read_result()
    public = name.startswith(_PUBLIC)
    found: dict[str, Any] = {
        "kind": "started",
        "source": name if public else Path(name.partition(",")[0]).name,
        "license": license_of(result),
    }
    if file is not None and file.is_file():
        found["sha256"] = digest_of(file)
        found["file"] = file.name
    if result.get("origin"):
        found["origin"] = result["origin"]
    return found


def digest_of(file: Path | None) -> str | None:
    """The SHA-256 of a file of weights; None if there is none."""
    if file is None or not file.is_file():
        return None
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def chain(origin: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """An origin, that of its source, and so on."""
    while origin:
        yield origin
        origin = origin.get("origin")


def keep_license(source: Path, target: Path) -> None:
    """Copies the text of the licence from one folder to another, if there is one."""
    if (source / LICENSE).is_file():
        shutil.copyfile(source / LICENSE, target / LICENSE)
