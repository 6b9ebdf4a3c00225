"""`std-keras compare`: which exported file of which run to ship."""

from __future__ import annotations

from collections.abc import Sequence

from std_keras.config import options
from std_keras.config.option import POSITIVE, RUN, Option
from std_keras.programs import export, flags, shared_options
from std_keras.programs.program import StopRequest

OPTIONS = {
    "output_dir": shared_options.saying(
        shared_options.OUTPUT_DIR,
        "The output folder for compare.json, report.html and the exports; created if missing.",
    ),
    "budget_mb": Option(
        topic=RUN,
        help="The largest file that will do, in MB of 1,000,000 bytes; any size if not given.",
        kind=float,
        **POSITIVE,
    ),
    "budget_ms": Option(
        topic=RUN,
        help="The longest inference that will do, in milliseconds on one thread of this machine; "
        "any if not given.",
        kind=float,
        **POSITIVE,
    ),
    "best_by": shared_options.saying(
        options()["best_by"], "The accuracy that decides which file is the best."
    ),
    "quantization": export.QUANTIZATION,
    "dataset": shared_options.saying(
        shared_options.DATASET, "One data set for all; the runs' own, if it is one, if not given."
    ),
    "data_dir": shared_options.DATA_DIR,
    "examples": shared_options.EXAMPLES,
}
DEFAULTS = {
    "output_dir": "runs/compare",
    "best_by": "top1",
    "quantization": "float32,float16,dynamic,int8",
    "examples": 1000,
}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses runs and flags, compares, writes, and prints the table and the verdict."""
    parsed = flags.parse(
        arguments,
        program="std-keras compare",
        about="Exports runs (a teacher, its students, students without a teacher), runs every file "
        "on test images and on one and two threads, and says which one to ship.",
        options=OPTIONS,
        defaults=DEFAULTS,
        words="RUN",
    )
    quantizations = export.parsed_quantizations(parsed.pop("quantization"))
    from std_keras.research.compare import compare

    found = compare(
        parsed.pop("RUN"), quantizations=quantizations, **parsed, stop=lambda: bool(stop)
    )
    print(found.table(), flush=True)
