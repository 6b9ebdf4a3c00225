"""`std-keras export`: a run's model as SavedModel and TFLite, checked on test images."""

from __future__ import annotations

from collections.abc import Sequence

from std_keras.config import options
from std_keras.config.option import MODEL, Option
from std_keras.errors import InputError
from std_keras.exporting.export import checked_quantizations, export
from std_keras.files.output_folder import check_output_dir
from std_keras.files.paths import user_path
from std_keras.programs import flags, program, shared_options
from std_keras.programs.program import StopRequest
from std_keras.runs.run import Run

QUANTIZATION = Option(
    topic=MODEL,
    help="One or more of float32, float16 (half the size), dynamic (int8 weights, activations "
    "quantised at run time), int8 (some activations quantised statically, with ranges measured "
    "on 200 training images) and int4 (as dynamic, but 4 bits for most weights, rounded by 200 "
    "training images: the smallest file, for LiteRT 1.4 or newer), separated by commas.",
    kind=str,
)
_OPTIONS = {
    "model_dir": shared_options.MODEL_DIR,
    "model": Option(
        topic=MODEL,
        help="Instead of a run directory, any Keras classifier: SOURCE[,input=byte|unit|signed|"
        "imagenet][,size=N], as of a teacher; with --dataset.",
        kind=str,
    ),
    "labels": shared_options.saying(
        shared_options.LABELS,
        "--model: a file of class names, one per line, in the order of the outputs; labels.txt "
        "beside the model if not given.",
    ),
    "eval_crop_ratio": shared_options.saying(
        options()["eval_crop_ratio"],
        "--model: side of the central square that it looks at, as a fraction of a picture's "
        "shorter side; 1 if not given.",
    ),
    "output_dir": shared_options.OUTPUT_DIR,
    "quantization": QUANTIZATION,
    "head": shared_options.HEAD,
    "weights": shared_options.WEIGHTS,
    "input_type": Option(
        topic=MODEL,
        help="Type of the input pixels (0 to 255) of the TFLite files.",
        kind=str,
        choices=("uint8", "float32"),
    ),
    "dataset": shared_options.DATASET,
    "data_dir": shared_options.DATA_DIR,
    "verify_examples": shared_options.saying(
        shared_options.EXAMPLES,
        "Check each file on this many evenly spaced test images; 0 for all.",
    ),
    "max_accuracy_drop": shared_options.saying(
        shared_options.MAX_ACCURACY_DROP,
        "Reject a file whose top-1 is more than this fraction below the Keras model's on the same "
        "images: it is kept as student_<quantization>.rejected.tflite, and the exit code is 4. "
        "Not checked if not given.",
    ),
}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, writes and checks the files, and prints a table."""
    parsed = flags.parse(
        arguments,
        program="std-keras export",
        about="Exports a run's model as a SavedModel and as TFLite files, checks each file on test "
        "images, and writes the results to report.json.",
        options=_OPTIONS,
        defaults={
            "quantization": "float32,float16,dynamic",
            "input_type": "uint8",
            "verify_examples": 1000,
        },
        required=("output_dir",),
    )
    quantizations = parsed_quantizations(parsed.pop("quantization"))
    check_output_dir(user_path(parsed["output_dir"]))
    model_dir = parsed.pop("model_dir")
    if (model_dir is None) == (parsed["model"] is None):
        raise InputError("name either model_dir=RUN or model=FILE.keras, and not both")
    run = None if model_dir is None else Run(model_dir)

    from std_keras import quiet

    quiet.load_tensorflow()
    from std_keras.exporting.export_report import ExportRefusedError

    try:
        report = export(run, quantizations=quantizations, **parsed, stop=lambda: bool(stop))
    except ExportRefusedError as error:
        print(error.report.table(), flush=True)
        raise
    print(report.table(), flush=True)


def parsed_quantizations(text: str) -> tuple[str, ...]:
    """The names in a list with commas.

    Raises:
        InputError: see `checked_quantizations`.
    """
    names = [name.strip() for name in text.split(",")]
    return checked_quantizations(names, argument="quantization")


def console() -> None:
    """Entry point of the console program."""
    program.console(main)


if __name__ == "__main__":
    console()
