"""Keeps on disk what XLA compiled, so that the next start of a training need not wait for it.

TensorFlow finds a program again by its operations and by the names of its functions, which end in
numbers that it counts up while a process makes functions and tensors; see `number_functions`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import platform
import shutil
import time
from pathlib import Path
from typing import BinaryIO

CHOICE = "TF_XLA_FLAGS"
_FLAG = "--tf_xla_persistent_cache_directory"
_MOST_BYTES = 1_000_000_000  # A training step of Mixer-S/4 has 10 MB.
_FREE_BYTES = 500_000_000  # A full disk would end the training, for want of a convenience.
_DAY = 24 * 3600


def choose() -> None:
    """Names a folder below the user's cache folder to TensorFlow, unless the user chose.

    Call it before TensorFlow is imported. The folder's name tells the processor, the cores,
    TensorFlow and what else the compiled code depends on. Nothing is kept where there is a GPU, for
    which it was never tried, nor where the folder cannot be written or the disk is nearly full.
    """
    given = os.environ.get(CHOICE, "")
    if _FLAG in given or _has_gpu():
        return
    machine, library = _machine(), importlib.util.find_spec("tensorflow")
    if machine is None or library is None or library.origin is None:
        return
    facts = [machine, library.origin, str(os.stat(library.origin).st_mtime_ns), given]
    facts += [os.environ.get(name, "") for name in ("XLA_FLAGS", "TF_ENABLE_ONEDNN_OPTS")]
    key = hashlib.sha256("\n".join(facts).encode(errors="replace")).hexdigest()[:20]
    with contextlib.suppress(OSError, RuntimeError):  # Without a home folder, for example.
        folder = _home() / key
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _clean(folder.parent)
        room = os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > _FREE_BYTES
        if room and "'" not in str(folder):
            os.environ[CHOICE] = f"{given} {_FLAG}='{folder}'".strip()


def number_functions(multiple: int = 100_000) -> None:
    """Has TensorFlow count on from a round number for the functions that are traced next.

    So their names do not depend on what was made before: on whether a run begins or goes on, say.

    Args:
        multiple: of what; more than processes differ by. Each unit takes 0.2 microseconds.
    """
    from tensorflow.python.framework import ops  # There is no public way to count.

    while not (count := ops.uid()) or count % multiple:
        pass


def _home() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return Path(caches).expanduser() / "std_keras" / "xla"


def _has_gpu() -> bool:
    """Whether the machine has one of NVIDIA or AMD, used or not."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or os.path.exists("/dev/kfd")


def _machine() -> str | None:
    """What compiled code depends on: the processor and how many cores may be used; None if unknown.

    Loaded on a processor without its instructions, code ends the process.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        cores = len(os.sched_getaffinity(0))
    except (OSError, AttributeError):
        return None
    told = {line for line in lines if line.startswith(("model", "flags", "Features", "CPU "))}
    return "\n".join([platform.machine(), str(cores), *sorted(told)]) if told else None


def _clean(home: Path) -> None:
    """Deletes what is damaged or was left unfinished, and the oldest files above the limit."""
    kept, now = [], time.time()
    for path in home.glob("*/*"):
        with contextlib.suppress(OSError):
            state = path.stat()
            unfinished = not path.name.endswith(".pb")
            if now - state.st_mtime > _DAY if unfinished else not _is_whole(path):
                path.unlink()
            else:
                kept.append((state.st_mtime, state.st_size, path))
    total = 0
    for _, size, path in sorted(kept, reverse=True):
        total += size
        if total > _MOST_BYTES:
            with contextlib.suppress(OSError):
                path.unlink()


def _is_whole(path: Path) -> bool:
    """Whether the fields of a message of Protocol Buffers end where its file ends.

    TensorFlow stops with an error at one that was cut off, by a crash of the machine for example.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            while file.tell() < size:
                tag, value = _varint(file), _varint(file)
                if tag & 7 not in (0, 2):
                    return False
                if tag & 7 == 2:
                    file.seek(value, os.SEEK_CUR)
        except EOFError:
            return False
        return 0 < size == file.tell()


def _varint(file: BinaryIO) -> int:
    """The next number, of variable length."""
    number, shift = 0, 0
    while byte := file.read(1):
        number |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return number
        shift += 7
    raise EOFError
