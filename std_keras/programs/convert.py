"""Converts weights of PyTorch, the Hugging Face hub or Flax into a run directory.

Usage: std-keras convert --source=FILE --output=DIR
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
    "source": Option(
        topic=_FILE,
        help="A PyTorch file (.pth, .pt, .th), a .safetensors file or the index of several, an "
        ".npz file, hf-hub:ORG/NAME of a timm model, or a folder with its files.",
        kind=str,
    ),
    "format": Option(
        topic=_FILE,
        help="File format; auto detects it from the content.",
        kind=str,
        choices=("auto", "torch", "safetensors", "npz"),
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
        "another run; if not given, the names that the repository on the hub or --dataset has, or "
        "0, 1, 2, ...",
    ),
    "dataset": shared_options.saying(
        shared_options.DATASET,
        "Default data set of evaluate and export for this run; names the classes if --labels is "
        "not given.",
    ),
    "data_dir": shared_options.DATA_DIR,
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
    "eval_crop_ratio": shared_options.saying(
        options()["eval_crop_ratio"],
        "Part of a test image's short side that the evaluated square has; what the repository on "
        "the hub says if not given, or all of it.",
    ),
    "license": Option(
        topic=_FILE,
        help="Licence of the weights, such as apache-2.0 or cc-by-nc-4.0; what the repository on "
        "the hub states if not given.",
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
    parsed = flags.parse(
        arguments,
        program="std-keras convert",
        about="Converts weights of PyTorch, the Hugging Face hub or Flax into a run directory, "
        "which works as a teacher and with evaluate and export. No code in the file is executed, "
        "and PyTorch is not needed.",
        options={**_OPTIONS, **_model_flags()},
        defaults={"format": "auto", "layout": "auto", "dataset": "", "allow_partial": False},
        required=("source", "output"),
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


def _model_flags() -> dict[str, Option]:
    """The model's options; what a file tells need not be given."""
    chosen = {
        name: option
        for name, option in options().items()
        if name == "image_size" or (option.topic == MODEL and name != "stochastic_depth")
    }
    chosen["model"] = shared_options.saying(
        chosen["model"], "Name of the model; the one that has the file's sizes if not given."
    )
    return chosen


def _numbers(flag: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"--{flag}={text} must be a number, or several separated by commas"
        ) from error
