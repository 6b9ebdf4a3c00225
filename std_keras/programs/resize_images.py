"""Writes a smaller copy of a folder of images, so that training reads it faster.

Usage: std-keras resize-images --source=DIR --output_dir=DIR --size=N [--quality=Q]
Then: std-keras train --dataset=folder:OUTPUT_DIR ...
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from std_keras.config.option import DATA, PERFORMANCE, Option
from std_keras.programs import flags, shared_options
from std_keras.programs.program import StopRequest


def _between(least: int, most: int) -> dict[str, Any]:
    return {"check": lambda v: least <= v <= most, "wanted": f"between {least} and {most}"}


_OPTIONS = {
    "source": Option(
        topic=DATA, help="Directory with images, at any depth, e.g. train/ and val/.", kind=str
    ),
    "output_dir": Option(
        topic=DATA,
        help="The copy: new, empty, or an interrupted one to continue.",
        kind=str,
    ),
    "size": Option(
        topic=DATA,
        help="Length of the shorter side in pixels; the aspect ratio is kept. Upright, opaque "
        "JPEGs and PNGs that are not larger are copied unchanged; all others are written anew.",
        kind=int,
        **_between(1, 65535),
    ),
    "quality": Option(topic=DATA, help="JPEG quality.", kind=int, **_between(1, 100)),
    "corrupt_images": shared_options.saying(
        shared_options.CORRUPT_IMAGES,
        "What to do with unreadable images. All others are written in either case; refuse then "
        "exits with code 2.",
    ),
    "workers": Option(
        topic=PERFORMANCE,
        help="Number of threads; 0 for one per processor.",
        kind=int,
        **_between(0, 1024),
    ),
}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, writes missing images, and reports unreadable ones."""
    parsed = flags.parse(
        arguments,
        program="std-keras resize-images",
        about="Writes a smaller copy of a folder of images. Run the same command again to continue "
        "an interrupted one.",
        options=_OPTIONS,
        defaults={"quality": 90, "corrupt_images": "refuse", "workers": 0},
        required=("source", "output_dir", "size"),
    )

    from std_keras import quiet

    quiet.load_tensorflow()
    from std_keras.data.smaller_copy import resize_images

    resize_images(parsed.pop("source"), **parsed, stop=lambda: bool(stop))
