"""Writes a smaller copy of a folder of images, once, so that training reads it faster.

Usage: std-keras resize-images --source=DIR --output_dir=DIR --size=N [--quality=Q]
Then: std-keras train --dataset=folder:OUTPUT_DIR ...
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from std_keras import progress
from std_keras.config.option import DATA, PERFORMANCE, Option
from std_keras.errors import InputError, Interrupted
from std_keras.programs import flags, shared_options
from std_keras.programs.program import StopRequest


def _between(least: int, most: int) -> dict[str, Any]:
    return {"check": lambda v: least <= v <= most, "wanted": f"between {least} and {most}"}


_OPTIONS = {
    "source": Option(
        topic=DATA, help="Directory with images at any depth, e.g. train/ and val/.", kind=str
    ),
    "output_dir": Option(
        topic=DATA,
        help="The copy: new, empty, or one that was interrupted and is to go on.",
        kind=str,
    ),
    "size": Option(
        topic=DATA,
        help="Pixels of the shorter side; the other one keeps the shape. Images that are not "
        "larger are copied as they are.",
        kind=int,
        **_between(1, 65535),
    ),
    "quality": Option(topic=DATA, help="JPEG quality.", kind=int, **_between(1, 100)),
    "corrupt_images": shared_options.saying(
        shared_options.CORRUPT_IMAGES,
        "What to do about unreadable images: all others are written in any case; refuse ends with "
        "exit code 2 then.",
    ),
    "workers": Option(
        topic=PERFORMANCE,
        help="Threads; one for each processor if 0.",
        kind=int,
        **_between(0, 1024),
    ),
}
_NAMED = 20


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, writes what is missing, and says what could not be read."""
    parsed = flags.parse(
        arguments,
        program="std-keras resize-images",
        about="Writes a smaller copy of a folder of images. The same command again continues an "
        "interrupted one.",
        options=_OPTIONS,
        defaults={"quality": 90, "corrupt_images": "refuse", "workers": 0},
        required=("source", "output_dir", "size"),
    )

    from std_keras import quiet

    quiet.load_tensorflow()
    from std_keras.data.smaller_copy import write_smaller_copy

    done = write_smaller_copy(
        parsed["source"],
        parsed["output_dir"],
        size=parsed["size"],
        quality=parsed["quality"],
        workers=parsed["workers"] or None,
        progress=progress.track,
        stop=lambda: bool(stop),
    )
    if not done.complete:
        raise Interrupted(
            f"interrupted after {done.kept + done.written} of {done.total} images; run the same "
            "command to continue"
        )
    for path in done.corrupt[:_NAMED]:
        progress.warn(f"cannot decode {path}")
    if len(done.corrupt) > _NAMED:
        progress.warn(f"and {len(done.corrupt) - _NAMED} more")
    if done.corrupt and parsed["corrupt_images"] == "refuse":
        raise InputError(
            f"--source={parsed['source']}: {len(done.corrupt)} of {done.total} images cannot be "
            f"decoded, {done.corrupt[0]} for one; repair or remove them and run this again, or "
            "pass --corrupt_images=skip"
        )
    skipped = f", {len(done.corrupt)} skipped" if done.corrupt else ""
    progress.say(
        f"{parsed['output_dir']}: {done.written} images written, {done.kept} were there{skipped}"
    )
