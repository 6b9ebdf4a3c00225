"""Converts PyTorch or Flax (.npz) weights into a run directory.

Usage: std-keras convert --source=FILE --model=NAME --output=DIR
`--layout` lists the supported code bases.
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
    *("airbench", "akamaster", "chenyaofo", "cyclemlp", "facebook", "google", "microsoft"),
    *("repdistiller", "std_pytorch", "std_pytorch_backbone", "timm"),
)
_OPTIONS = {
    "source": Option(topic=_FILE, help="A PyTorch file (.pth, .pt, .th) or .npz.", kind=str),
    "format": Option(
        topic=_FILE,
        help="File format; auto detects it from the content.",
        kind=str,
        choices=("auto", "torch", "npz"),
    ),
    "layout": Option(
        topic=_FILE,
        help="Code base whose parameter names the file uses; auto detects it from the names.",
        kind=str,
        choices=("auto", *LAYOUTS),
    ),
    "place": Option(
        topic=_FILE,
        help="Keys that lead to the state dict in a PyTorch file that holds several, joined by /; "
        "if not given, averaged weights are preferred.",
        kind=str,
    ),
    "allow_partial": Option(
        topic=_FILE,
        help="Convert even if the file lacks some weights, which are then newly initialized, or "
        "has arrays that the model does not use.",
        kind=bool,
    ),
    "output": shared_options.NEW_RUN,
    "labels": shared_options.saying(
        shared_options.LABELS,
        "A file of class names, one per line, in the order of the logits, such as labels.txt of "
        "another run; if not given, the classes are named 0, 1, 2, ...",
    ),
    "dataset": shared_options.saying(
        shared_options.DATASET, "Default data set of evaluate and export for this run."
    ),
    "num_classes": shared_options.saying(
        shared_options.NUM_CLASSES, "Number of classes; that of the file if not given."
    ),
    "mean": Option(
        topic=MODEL,
        help="Mean to subtract from pixels in [0, 1]: one number, or one per channel separated by "
        "commas; the code base's own if not given.",
        kind=str,
    ),
    "std": Option(
        topic=MODEL,
        help="Standard deviation to divide by: one number, or one per channel separated by commas; "
        "the code base's own if not given.",
        kind=str,
    ),
    "site": Option(
        topic=MODEL,
        help="Distillation site of a student of the PyTorch reproduction, if the file does not "
        "tell.",
        kind=str,
        choices=("last", "both"),
    ),
}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, converts, and reports what was loaded."""
    model_flags = {
        name: option
        for name, option in options().items()
        if name == "image_size" or (option.topic == MODEL and name != "stochastic_depth")
    }
    parsed = flags.parse(
        arguments,
        program="std-keras convert",
        about="Converts PyTorch or Flax weights into a run directory, which works as a teacher and "
        "with evaluate and export. No code in the file is executed, and PyTorch is not needed.",
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
        raise InputError(
            f"--{flag}={text} must be a number, or several separated by commas"
        ) from error
