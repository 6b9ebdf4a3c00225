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
    "labels": shared_options.saying(
        shared_options.LABELS,
        "FILE.keras: a file of class names, one per line, in the order of the outputs; labels.txt "
        "beside it if not given.",
    ),
    "eval_crop_ratio": shared_options.saying(
        options()["eval_crop_ratio"],
        "FILE.keras: side of the central square that it looks at, as a fraction of a picture's "
        "shorter side; that of its run, or 1, if not given.",
    ),
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
        about="Exports runs (a teacher, its students, students without a teacher) and any Keras "
        "classifiers (FILE.keras[,input=byte|unit|signed|imagenet][,size=N]), runs every file "
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
