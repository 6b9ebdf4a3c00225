"""Keeps on disk what XLA compiled, so that the next start of a training need not wait for it.

TensorFlow finds a program again by its operations and by the names of its functions, which end in
numbers that it counts up while a process makes functions and tensors; see `compiled`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

CHOICE = "TF_XLA_FLAGS"
_FLAG = "--tf_xla_persistent_cache_directory"
_ENTRY = "xla_compile_cache__"  # Begins the name of each file that TensorFlow keeps.
_MOST_BYTES = 1_000_000_000  # A training step of Mixer-S/4 has 10 MB.
_FREE_BYTES = 500_000_000  # A full disk would end the training, for want of a convenience.
_DAY = 24 * 3600


def choose() -> None:
    """Names a folder below the user's cache folder to TensorFlow, unless the user chose.

    Call it before TensorFlow is imported. The folder's name tells the processor, the cores,
    TensorFlow and what else the compiled code depends on. Nothing is kept where there is a GPU, for
    which it was never tried, nor in a folder that another user may write to, or that has no room:
    TensorFlow ends a training for which it cannot be written.
    """
    with contextlib.suppress(OSError, RuntimeError):  # Without a home folder, for example.
        home = _home()
        given = re.sub(rf"{_FLAG}='{re.escape(str(home))}/\w+'", "", os.environ.get(CHOICE, ""))
        given = given.strip()
        # TensorFlow takes what does not begin with a dash for the name of a file of flags.
        if _FLAG in given or (given and not given.startswith("-")):
            return
        os.environ.pop(CHOICE, None)
        if given:
            os.environ[CHOICE] = given
        key = _key(given)
        if key is None or _has_gpu():
            return
        folder = home / key
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _clean(home)
        if "'" not in str(folder) and _is_own(folder) and _has_room(folder):
            os.environ[CHOICE] = f"{given} {_FLAG}='{folder}'".strip()


def error_of(error: BaseException) -> str | None:
    """What to say of an error of TensorFlow that comes from the folder; None for any other."""
    text = str(error)
    if _ENTRY not in text:
        return None
    said = next(line for line in text.splitlines() if _ENTRY in line).strip()
    return (
        f"what XLA compiled cannot be kept or read ({said[:300]}); delete {_home()}, or set "
        f"{CHOICE}={_FLAG}= in the environment, which keeps nothing"
    )


def compiled(
    function: Callable[..., Any], *, input_signature: Any = None, multiple: int = 100_000
) -> Any:
    """A function that XLA compiles, named in each process alike.

    Args:
        function: of tensors; plain TensorFlow, for AutoGraph does not look at it.
        input_signature: as `tf.function` has it.
        multiple: TensorFlow counts on from one of these when it is traced; so more than processes
            differ by, in what they made before. Each unit takes 0.2 microseconds.
    """
    import tensorflow as tf  # `choose` comes before it.
    from tensorflow.python.framework import ops  # There is no public way to count.

    @functools.wraps(function)
    def named(*args: Any, **kwargs: Any) -> Any:
        while not (count := ops.uid()) or count % multiple:
            pass
        return function(*args, **kwargs)

    return tf.function(named, input_signature=input_signature, jit_compile=True, autograph=False)


def _key(given: str) -> str | None:
    """A name for all that compiled code depends on; None if that is not known."""
    machine, library = _machine(), importlib.util.find_spec("tensorflow")
    if machine is None or library is None or library.origin is None:
        return None
    facts = [machine, library.origin, str(os.stat(library.origin).st_mtime_ns), given]
    facts += [os.environ.get(name, "") for name in ("XLA_FLAGS", "TF_ENABLE_ONEDNN_OPTS")]
    return hashlib.sha256("\n".join(facts).encode(errors="replace")).hexdigest()[:20]


def _is_own(folder: Path) -> bool:
    """Whether the code in the folder, which is run, is of this user alone."""
    if folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return False
    entries = [path.lstat() for path in folder.iterdir()]
    states = [folder.stat(), *entries]
    return all(state.st_uid == os.geteuid() for state in states) and all(
        stat.S_ISREG(state.st_mode) for state in entries
    )


def _has_room(folder: Path) -> bool:
    """Whether a file can be written and renamed; quotas and inodes are not told otherwise."""
    if shutil.disk_usage(folder).free < _FREE_BYTES:
        return False
    probe = folder / f"probe-{os.getpid()}"
    probe.write_bytes(bytes(2**16))
    probe.unlink()
    return True


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
    found = []
    for path in home.glob("*/*"):
        with contextlib.suppress(OSError):
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    newest, total = max((written for written, _, _ in found), default=0.0), 0
    for written, size, path in sorted(found, reverse=True):
        with contextlib.suppress(OSError):
            if path.name.endswith(".pb"):
                total += size if (whole := _is_whole(path)) else 0
                unfit = not whole or total > _MOST_BYTES
            else:  # Another process writes it now, unless much is newer.
                unfit = written < newest - _DAY
            if unfit:
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
                if not tag >> 3 or tag & 7 not in (0, 2):  # No field has the number 0.
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
