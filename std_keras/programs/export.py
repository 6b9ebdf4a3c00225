"""`std-keras export`: a run's model as SavedModel and TFLite, checked on test images."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from std_keras.config.option import MODEL, Option
from std_keras.errors import InputError, Interrupted, LimitError
from std_keras.programs import flags, program, shared_options
from std_keras.programs.program import StopRequest
from std_keras.runs import pretrained

if TYPE_CHECKING:
    import numpy as np

    from std_keras.data import DataSet
    from std_keras.exporting.report import FileReport

_QUANTIZATIONS = ("float32", "float16", "dynamic", "int8")
_REPRESENTATIVE_IMAGES = 200
_BLAME_IMAGES = 100
_OPTIONS = {
    "model_dir": shared_options.MODEL_DIR,
    "output_dir": shared_options.OUTPUT_DIR,
    "quantization": Option(
        topic=MODEL,
        help="One or more of float32, float16 (half the size), dynamic (weights int8, activations "
        "quantised on the fly) and int8 (some activations by ranges measured on "
        f"{_REPRESENTATIVE_IMAGES} training images), with commas between.",
        kind=str,
    ),
    "head": shared_options.HEAD,
    "weights": shared_options.WEIGHTS,
    "input_type": Option(
        topic=MODEL,
        help="Type of the pixels, 0 to 255, that the TFLite files take.",
        kind=str,
        choices=("uint8", "float32"),
    ),
    "dataset": shared_options.DATASET,
    "data_dir": shared_options.DATA_DIR,
    "verify_examples": shared_options.saying(
        shared_options.EXAMPLES,
        "How many test images each file is run over, taken at equal distances; 0 for all.",
    ),
    "max_accuracy_drop": shared_options.saying(
        shared_options.MAX_ACCURACY_DROP,
        "Refuse a file whose top-1 is more than this fraction below the Keras model's on the same "
        "images: it is kept as student_<quantization>.rejected.tflite, and the exit code is 4. "
        "Not checked if not given.",
    ),
}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, writes and checks the files, and prints a table."""
    parsed = flags.parse(
        arguments,
        program="std-keras export",
        about="Exports a run's model as a SavedModel and as TFLite files, runs each file over test "
        "images, and writes what it found to report.json.",
        options=_OPTIONS,
        defaults={
            "quantization": "float32,float16,dynamic",
            "input_type": "uint8",
            "verify_examples": 1000,
        },
        required=("model_dir", "output_dir"),
    )
    quantizations = _parse_quantizations(parsed["quantization"])
    limit = parsed["max_accuracy_drop"]
    output_dir = Path(parsed["output_dir"]).expanduser()
    _check_output_dir(output_dir)
    parsed["model_dir"] = pretrained.located(parsed["model_dir"], flag="model_dir")

    from std_keras import quiet

    quiet.load_tensorflow()

    from std_keras import exporting, models, progress
    from std_keras.exporting import layer_sensitivity as blame
    from std_keras.exporting import report
    from std_keras.exporting.classifying import describe
    from std_keras.exporting.sample import sample
    from std_keras.exporting.saved_model import run_saved_model, size_on_disk
    from std_keras.runs.run_directory import RunDirectory, write_atomically
    from std_keras.runs.trained import load_trained
    from std_keras.training import build

    run = RunDirectory(parsed["model_dir"])
    trained = load_trained(run.path, weights=parsed["weights"])
    head = parsed["head"] or build.default_head(trained)
    model = exporting.inference_model(trained, head=head)
    dataset = build.data_of_run(
        run.path,
        dataset=parsed["dataset"],
        data_dir=parsed["data_dir"],
        model=model,
        progress=progress.track,
    )
    images, labels = sample(dataset.test, parsed["verify_examples"], progress=progress.track)
    reference = model.predict(images, batch_size=128, verbose=0)
    keras_top1 = exporting.top1(reference, labels)
    if exporting.largest_difference(reference, reference) is None:
        raise InputError(
            f"--model_dir={run.path}: the model returns values that are not finite; export another"
        )

    _make_output_dir(output_dir)
    report_file = output_dir / "report.json"
    report_file.unlink(missing_ok=True)  # It would describe files that are replaced now.
    _check_stop(stop)
    progress.say(f"writing {output_dir / 'saved_model'}")
    card = exporting.card_of_run(
        run, model=model, head=head, dataset=dataset.name, top1=keras_top1, examples=len(images)
    )
    exporting.write_saved_model(model, output_dir / "saved_model", crop_ratio=card.crop_ratio)
    saved_logits = run_saved_model(output_dir / "saved_model", images)
    write_atomically(output_dir / "labels.txt", "".join(f"{x}\n" for x in run.read_labels()))

    machine = report.machine()
    contents: dict[str, Any] = {
        "model_dir": str(run.path),
        "model": model.name,
        "head": head,
        "weights": parsed["weights"]
        or ("ema" if run.read_config().optimization.ema_decay > 0 else "raw"),
        "dataset": dataset.name,
        "split": "test",
        "examples": len(images),
        "input_type": parsed["input_type"],
        "machine": machine,
        "keras": {"top1": keras_top1, "parameters": models.trainable_parameters(model)},
        "saved_model": {
            "bytes": size_on_disk(output_dir / "saved_model"),
            "top1": exporting.top1(saved_logits, labels),
            "max_logit_difference": exporting.largest_difference(saved_logits, reference),
        },
    }
    rows: dict[str, FileReport] = {}
    float32: bytes | None = None
    for quantization in quantizations:
        _check_stop(stop)
        progress.say(f"converting to {quantization}")
        representative = _representative(dataset) if quantization == "int8" else None
        if float32 is None and quantization != "float32":
            float32 = exporting.convert(
                model, quantization="float32", input_type=parsed["input_type"]
            )
        content = exporting.convert(
            model,
            quantization=quantization,
            input_type=parsed["input_type"],
            representative_images=representative,
            float32_content=float32,
        )
        if quantization == "float32":
            float32 = content
        content = describe(content, card)
        _check_stop(stop)
        found = exporting.run_file(
            content,
            images=images,
            name=f"student_{quantization}.tflite",
            stop=lambda: bool(stop),
            progress=progress.track,
        )
        row = report.judge(
            f"student_{quantization}.tflite",
            content,
            logits=found.logits,
            latency_ms=found.latency_ms,
            input_type=parsed["input_type"],
            reference=reference,
            labels=labels,
            max_accuracy_drop=limit,
            latency_ms_2_threads=exporting.time_file(content, image=images[0], num_threads=2),
            xnnpack_partitions=exporting.xnnpack_partitions(content),
        )
        if row.refused and float32 is not None and quantization != "float32":
            progress.say(f"{row.file}: looking for the layer to blame")
            errors = blame.layer_errors(
                float32,
                quantization=quantization,
                images=images[:_BLAME_IMAGES],
                labels=labels[:_BLAME_IMAGES],
                representative_images=representative,
                stop=lambda: bool(stop),
                progress=progress.track,
            )
            row = dataclasses.replace(row, layer_errors=errors)
        _write(output_dir / f"student_{quantization}.tflite", content, name=row.file)
        rows[quantization] = row
    contents["tflite"] = {name: row.as_dict() for name, row in rows.items()}
    write_atomically(report_file, json.dumps(contents, indent=2, allow_nan=False) + "\n")
    print(
        report.table(rows, keras_top1=keras_top1, examples=len(images), cpu=machine["cpu"]),
        flush=True,
    )
    for row in rows.values():
        if row.layer_errors:
            print(f"{row.file}, each layer quantised alone, the worst:")
            print(blame.short_table(row.layer_errors), flush=True)
    refusals = [f"{row.file}: {row.refused}{_blamed(row)}" for row in rows.values() if row.refused]
    if refusals:
        raise LimitError("refused " + "; ".join(refusals))


def _blamed(row: FileReport) -> str:
    if not row.layer_errors:
        return ""
    worst = row.layer_errors[0]
    return f" (quantised alone, {worst.layer} costs most: {worst.accuracy_drop:+.4f} of top-1)"


def _parse_quantizations(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in _QUANTIZATIONS:
            raise InputError(
                f"--quantization={text}: {name!r} is not one of {', '.join(_QUANTIZATIONS)}"
            )
    return names


def _check_stop(stop: StopRequest) -> None:
    if stop:
        raise Interrupted(
            "interrupted; the files that are there are whole, run the same command for the rest"
        )


def _representative(dataset: DataSet) -> np.ndarray:
    from std_keras import progress
    from std_keras.exporting.sample import sample

    what = "decoding representative images"
    return sample(dataset.train, _REPRESENTATIVE_IMAGES, progress=progress.track, what=what)[0]


def _write(path: Path, content: bytes, *, name: str) -> None:
    """Writes a file under the name of its verdict; removes what an earlier export left of it."""
    from std_keras.runs.run_directory import replace_atomically

    replace_atomically(path.with_name(name), lambda part: part.write_bytes(content))
    for former in (path, path.with_suffix(".rejected.tflite")):
        if former.name != name:
            former.unlink(missing_ok=True)


def _check_output_dir(path: Path) -> None:
    """Refuses a folder that cannot be made or written to, before the slow part; makes nothing."""
    nearest = path
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise InputError(f"--output_dir={path} cannot be a folder: {nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"--output_dir={path} cannot be written: no permission for {nearest}")


def _make_output_dir(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Permission bits do not tell everything (a read-only file system, for example).
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        if program.machine_error(error):
            raise
        raise InputError(f"--output_dir={path} cannot be written: {error.strerror}") from error


def console() -> None:
    """Entry point of the console program."""
    program.console(main)


if __name__ == "__main__":
    console()
