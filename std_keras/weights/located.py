"""The run directory that a source names, whatever its form: the one place where that is decided.

`std_keras:NAME` is a folder of the package. `hf-hub:ORG/NAME[@REVISION]`, or a folder with the
files of such a repository, is either a run that was packed here or a timm model; that is converted
when it is first named, and the run is kept with the hub's caches. Everything else is what it is.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from std_keras import progress
from std_keras.runs import pretrained
from std_keras.weights import hub

# Of what is kept; a change of the conversion that changes its result counts it up.
_CONVERSION = 1


def located(source: str, *, flag: str) -> str:
    """The run directory of a source; a source that is none of these forms as it is.

    Args:
        source: what the user named.
        flag: the argument that named it, for errors.

    Raises:
        InputError: if there is nothing of that name, it cannot be had, or is damaged.
    """
    if source.startswith(pretrained.PREFIX):
        return pretrained.located(source, flag=flag)
    if source.startswith(hub.PREFIX):
        return _of_hub(source, flag)
    repository = hub.find(source, flag=flag)
    return source if repository is None else _run_of(repository, flag=flag)


@functools.cache
def _of_hub(source: str, flag: str) -> str:
    """Once in a process: a run must not see two revisions."""
    repository = hub.find(source, flag=flag)
    assert repository is not None
    return str(repository.path) if repository.is_run else _run_of(repository, flag=flag)


def _run_of(repository: hub.Repository, *, flag: str) -> str:
    """The converted run of a repository, made if it was not yet."""
    if repository.commit is not None:
        name = repository.name.removeprefix(hub.PREFIX).partition("@")[0]
        place = hub.cache_folder(name, repository.commit)
    else:
        place = hub.cache_folder("folders", _content(repository))
    target = place / f"run_{_CONVERSION}"
    if not (target / "config.json").is_file():
        progress.say(f"{flag}={repository.name} is converted once, to {target}")
        _convert(repository, target)
    return str(target)


def _convert(repository: hub.Repository, target: Path) -> None:
    """Puts the whole run in its place in one step: several processes may make it at a time."""
    from std_keras import quiet

    quiet.ensure_tensorflow()
    from std_keras.weights.convert import convert

    part = Path(tempfile.mkdtemp(dir=target.parent, prefix=".part"))
    try:
        convert(repository.name, output=part / "run")
        try:
            os.rename(part / "run", target)
        except OSError:
            # Another process may have been faster; its run is the same.
            if not (target / "config.json").is_file():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _content(repository: hub.Repository) -> str:
    """What tells the content of a folder from another, without reading the weights."""
    assert repository.weights is not None
    told = hashlib.sha256()
    for file in sorted(repository.path.glob("*")):
        if file.suffix in (".json", ".safetensors", ".bin"):
            state = file.stat()
            told.update(f"{file.resolve()} {state.st_size} {state.st_mtime_ns}\n".encode())
    return told.hexdigest()[:32]
