"""Compares runs: results, differing flags, curves, errors, sample predictions, exports.

Usage: std-keras report RUN [RUN ...] --output_dir=OUT [--name=value ...]
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from std_keras.config.option import NATURAL, RUN, Option
from std_keras.programs import flags, shared_options
from std_keras.programs.program import StopRequest

OPTIONS = {
    "output_dir": shared_options.REPORT_DIR,
    "export": Option(
        topic=RUN,
        help="A folder written by std-keras export; may be repeated. Exports inside the run "
        "directories are found automatically.",
        kind=str,
        repeated=True,
    ),
    "dataset": shared_options.saying(
        shared_options.DATASET, "The data set of the first run if not given."
    ),
    "data_dir": shared_options.DATA_DIR,
    "examples": shared_options.EXAMPLES,
    "samples": Option(topic=RUN, help="Number of sample predictions.", kind=int, **NATURAL),
    "batch_size": shared_options.BATCH_SIZE,
}
DEFAULTS = {"examples": 2000, "samples": 12, "batch_size": 128}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses runs and flags, compares, writes, and prints the files as JSON."""
    parsed = flags.parse(
        arguments,
        program="std-keras report",
        about="Compares finished and unfinished runs on one HTML page.",
        options=OPTIONS,
        defaults=DEFAULTS,
        required=("output_dir",),
        words="RUN",
    )
    from std_keras.research.report import report

    written = report(parsed.pop("RUN"), **parsed, stop=lambda: bool(stop))
    print(json.dumps({"analysis": "runs", "files": [str(path) for path in written]}, indent=2))
