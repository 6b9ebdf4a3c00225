"""Packs a finished run as `std_keras:NAME`: float16 weights, a model card, checksums.

Usage: std-keras pack RUN --name=NAME   (--help lists the flags)
"""

from __future__ import annotations

from collections.abc import Sequence

from std_keras.config.option import MODEL, POSITIVE, RUN, Option
from std_keras.programs import flags, shared_options
from std_keras.programs.program import StopRequest

_OPTIONS = {
    "name": Option(topic=MODEL, help="Name of the weights: std_keras:NAME.", kind=str),
    "output_dir": shared_options.saying(
        shared_options.OUTPUT_DIR, "Parent of the folder NAME; inside the package if not given."
    ),
    "data_dir": shared_options.DATA_DIR,
    "dataset": shared_options.DATASET,
    "max_accuracy_drop": shared_options.saying(
        shared_options.MAX_ACCURACY_DROP,
        "Fail if top-1 on the test split changes by more than this fraction.",
    ),
    "max_megabytes": Option(
        topic=RUN, help="Fail if the file is larger than this.", kind=float, **POSITIVE
    ),
    "license": Option(
        topic=MODEL,
        help="Licence of the weights, such as apache-2.0, mit or cc-by-nc-4.0; that of their "
        "origin if not given.",
        kind=str,
    ),
    "license_file": Option(
        topic=MODEL,
        help="Text of that licence, for the file LICENSE; that which came with the weights, or of "
        "apache-2.0, if not given.",
        kind=str,
    ),
    "notes": Option(topic=MODEL, help="Limitations, for the model card.", kind=str),
    "overwrite": Option(topic=RUN, help="Replace an existing folder of that name.", kind=bool),
}
_DEFAULTS = {"max_accuracy_drop": 0.001, "max_megabytes": 5.0, "overwrite": False}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, packs, and prints where."""
    parsed = flags.parse(
        arguments,
        program="std-keras pack",
        about="Packs a finished run as std_keras:NAME: float16 weights, a model card, checksums. "
        "The folder can be uploaded to the Hugging Face hub as it is.",
        options=_OPTIONS,
        defaults=_DEFAULTS,
        required=("name",),
        words="RUN",
        single=True,
    )
    (run,) = parsed.pop("RUN")
    from std_keras.runs.packing.pack import pack

    packed = pack(run, **parsed, stop=lambda: bool(stop))
    print(f"{packed.path}: {packed.megabytes:.2f} MB, {packed.path}/README.md")
