"""Measures exported Mixer students of different widths and numbers of patches on one thread.

Each width with each number of patches is exported as float32, dynamic and int8 (random weights, one
token set), and all files take turns. GMAC/s are the multiply-accumulates of a network's matmuls
over its milliseconds: networks of nearly the same arithmetic are not equally fast, because the
kernels work on blocks of rows and columns. Milliseconds are processor time.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

from std_keras.config.option import Option
from std_keras.errors import InputError
from tools.benchmarks import exported

_TOPIC = "Shape benchmark"
_KINDS = ("float32", "dynamic", "int8")
_PATCH_SIZE = 4
OPTIONS = {
    "widths": Option(topic=_TOPIC, help="Channels, separated by commas.", kind=str),
    "sides": Option(
        topic=_TOPIC,
        help=f"Patches along a side of the image, separated by commas; a patch has {_PATCH_SIZE} "
        "pixels.",
        kind=str,
    ),
    **{
        name: dataclasses.replace(exported.OPTIONS[name], topic=_TOPIC)
        for name in ("depth", "runs", "files_dir")
    },
}
DEFAULTS = {"widths": "120,124,128,136,144,160,176,192", "sides": "8", "depth": 4, "runs": 200}
# Of the results, those that results/benchmarks.csv keeps.
FIGURES = ("variants/*",)


def run(
    *, widths: str, sides: str, depth: int, runs: int, files_dir: str | None = None
) -> dict[str, Any]:
    """The figures; see the module's text and `OPTIONS`."""
    exported.check_counts(runs=runs, depth=depth)
    calls, macs, sizes = {}, {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        for side in _numbers("sides", sides):
            for width in _numbers("widths", widths):
                name = f"width {width}, {side * side} patches"
                folder = Path(files_dir or temporary) / f"{width}_{side}_{depth}"
                folder.mkdir(parents=True, exist_ok=True)
                files = exported.student_files(
                    folder,
                    image_size=side * _PATCH_SIZE,
                    patch_size=_PATCH_SIZE,
                    width=width,
                    depth=depth,
                    quantizations=_KINDS,
                )
                shapes = exported.matmul_shapes(files["float32"])
                macs[name] = sum(
                    count * rows * inputs * outputs
                    for (rows, inputs, outputs), count in shapes.items()
                )
                sizes[name] = len(files["dynamic"])
                for kind in _KINDS:
                    calls[f"{name}/{kind}"] = exported.interpreter(files[kind])
        figures = exported.measure(calls, runs, clock=time.thread_time)
    return {
        "benchmark": "shapes",
        "depth": depth,
        "threads": 1,
        "variants": {
            name: {
                "mmac": count / 1e6,
                "dynamic_kb": sizes[name] / 1e3,
                "ms": {kind: figures[f"{name}/{kind}"] for kind in _KINDS},
                "gmac_per_s": {kind: count / figures[f"{name}/{kind}"] / 1e6 for kind in _KINDS},
            }
            for name, count in macs.items()
        },
    }


def _numbers(flag: str, text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"--{flag}={text}: name numbers of at least 1, separated by commas")
    return list(dict.fromkeys(map(int, parts)))
