"""How much memory this process uses."""

from __future__ import annotations

import os


def resident_mib() -> float:
    """Memory of this process that is in use, in MiB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
