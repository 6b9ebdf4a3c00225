"""SOURCE[,option=value,...], as people name a teacher: where the source ends."""

from __future__ import annotations

import os
from collections.abc import Container

from std_keras.files.paths import user_path


def split_source(description: str, *, planned: Container[str] = ()) -> list[str]:
    """The source, and the texts of the options.

    A comma may be part of a path: the source is the longest beginning, up to one of the commas,
    that names something which is there; if none does, what stands before the first comma.

    Args:
        description: as the user wrote it.
        planned: sources that count as if they were there, for they are still to be made.
    """
    parts = description.split(",")
    for count in range(len(parts), 0, -1):
        written = ",".join(parts[:count])
        for source in (written, written.strip()):
            if source and (source in planned or os.path.exists(user_path(source))):
                return [source, *parts[count:]]
    return [parts[0].strip(), *parts[1:]]
