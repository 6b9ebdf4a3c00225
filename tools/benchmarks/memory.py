"""What a process holds in memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path


def peak_bytes() -> int:
    """The most memory that this process ever held."""
    # `getrusage` would count what the parent held when it forked, too.
    found = _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return found or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_bytes() -> int | None:
    """The memory that this process holds; None where the system does not tell."""
    return _status("VmRSS")


def working_bytes(call: Callable[[], object]) -> int | None:
    """The most that a call holds beside what was there before it; None if it cannot be told.

    On a GPU its memory counts, else that of the process (on Linux alone).
    """
    import tensorflow as tf

    gc.collect()
    if tf.config.list_logical_devices("GPU"):
        tf.config.experimental.reset_memory_stats("GPU:0")
        before = tf.config.experimental.get_memory_info("GPU:0")["current"]
        call()
        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"] - before)
    with contextlib.suppress(OSError, AttributeError):
        # What was freed, but is kept for the next allocation, would hide what the call takes.
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # The peak, to this moment.
    except OSError:
        return None
    held = resident_bytes()
    call()
    return None if held is None else peak_bytes() - held


def _status(name: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)
