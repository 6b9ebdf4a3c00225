"""Converts weights from elsewhere (PyTorch files, Flax .npz) into a run directory.

Usage: std-keras convert --source=FILE --model=NAME --output=DIR
`--layout` lists the code bases whose files can be read.
"""

from __future__ import annotations

from collections.abc import Sequence

from std_keras.config import options
from std_keras.config.option import MODEL, Option
from std_keras.errors import InputError, Interrupted
from std_keras.programs import flags, shared_options
from std_keras.programs.program import StopRequest

_FILE = "File"
# Those of `std_keras.weights.layouts`, which loads Keras; a test keeps the two equal.
LAYOUTS = (
    *("akamaster", "chenyaofo", "cyclemlp", "facebook", "google", "microsoft", "std_pytorch"),
    *("std_pytorch_backbone", "timm"),
)
_OPTIONS = {
    "source": Option(topic=_FILE, help="A PyTorch file (.pth, .pt, .th) or .npz.", kind=str),
    "format": Option(
        topic=_FILE,
        help="What kind of file it is; auto looks at its content.",
        kind=str,
        choices=("auto", "torch", "npz"),
    ),
    "layout": Option(
        topic=_FILE,
        help="The code base whose names the file has; auto tells it by the names.",
        kind=str,
        choices=("auto", *LAYOUTS),
    ),
    "place": Option(
        topic=_FILE,
        help="Keys that lead to the state dict in a PyTorch file that holds several, joined by /; "
        "averaged weights are preferred if not given.",
        kind=str,
    ),
    "allow_partial": Option(
        topic=_FILE,
        help="Write the model although weights are missing in the file, which are then new, or "
        "arrays in it are not used.",
        kind=bool,
    ),
    "output": shared_options.NEW_RUN,
    "labels": shared_options.saying(
        shared_options.LABELS,
        "A file of class names, one a line, in the order of the logits, such as labels.txt of "
        "another run; if not given, the classes are called 0, 1, 2, ...",
    ),
    "dataset": shared_options.saying(
        shared_options.DATASET, "The data set that evaluate and export take if none is given."
    ),
    "num_classes": shared_options.saying(
        shared_options.NUM_CLASSES, "Classes of the head; those of the file if not given."
    ),
    "mean": Option(
        topic=MODEL,
        help="What is subtracted from pixels of 0 to 1, one number or one per channel with commas "
        "between; what the code base trains with if not given.",
        kind=str,
    ),
    "std": Option(topic=MODEL, help="What they are divided by; likewise.", kind=str),
    "site": Option(
        topic=MODEL,
        help="Where a student of the PyTorch reproduction was distilled, if the file does not say.",
        kind=str,
        choices=("last", "both"),
    ),
}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, converts, and says what was loaded."""
    model_flags = {
        name: option
        for name, option in options().items()
        if name == "image_size" or (option.topic == MODEL and name != "stochastic_depth")
    }
    parsed = flags.parse(
        arguments,
        program="std-keras convert",
        about="Converts weights from elsewhere into a run directory, which works as a teacher, and "
        "with evaluate and export. Nothing in the file is executed, and PyTorch is not needed.",
        options={**_OPTIONS, **model_flags},
        defaults={"format": "auto", "layout": "auto", "dataset": "", "allow_partial": False},
        required=("source", "model", "output"),
    )

    from std_keras import quiet

    quiet.load_tensorflow()
    from std_keras.weights.convert import convert

    if stop:
        raise Interrupted("interrupted; nothing was converted")
    given = {name: value for name, value in parsed.items() if value is not None}
    for name in ("mean", "std"):
        if name in given:
            given[name] = _numbers(name, given[name])
    convert(given.pop("source"), **given)


def _numbers(flag: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--{flag}={text} is not one number, or several with commas") from error
