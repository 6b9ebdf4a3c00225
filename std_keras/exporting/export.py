"""`std_keras.export`: a run's model as SavedModel and TFLite files, each run over test images."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from std_keras import progress, quiet
from std_keras.errors import InputError, Interrupted
from std_keras.exporting.file_kinds import INPUT_TYPES, QUANTIZATIONS
from std_keras.files.output_folder import check_output_dir, make_output_dir
from std_keras.files.paths import user_path
from std_keras.runs.run import Run
from std_keras.runs.run_directory import write_atomically

if TYPE_CHECKING:
    from std_keras.data import DataSet
    from std_keras.exporting.export_report import ExportReport
    from std_keras.exporting.tflite_files import Checked


def export(
    run: Run | str | os.PathLike[str] | None = None,
    *,
    output_dir: str | os.PathLike[str],
    model: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    eval_crop_ratio: float | None = None,
    quantizations: Sequence[str] = ("float32", "float16", "dynamic"),
    head: str | None = None,
    weights: str | None = None,
    input_type: str = "uint8",
    dataset: str | None = None,
    data_dir: str | None = None,
    verify_examples: int = 1000,
    max_accuracy_drop: float | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> ExportReport:
    """Writes `saved_model/`, `student_<quantization>.tflite`, `labels.txt` and `report.json`.

    Each file is run over test images before it is written, and replaces one of that name as a
    whole, so that an interrupted export leaves whole files.

    Args:
        run: a run, its directory, or `std_keras:NAME`.
        output_dir: where the files go; made if it is not there.
        model: in place of `run`, any Keras classifier: `SOURCE[,input=...][,size=N]`, as of a
            teacher. It needs a `dataset` to be checked on.
        labels: of `model`: file of class names, one a line; None for the labels.txt beside it.
        eval_crop_ratio: of `model`: the part of a picture's short side that it looks at, in (0, 1];
            1 if None.
        quantizations: "float32", "float16" (half the size), "dynamic" (weights int8, activations
            quantised on the fly), "int8" (some activations by ranges measured on training images),
            "int4" (as "dynamic", with 4 bits for most weights, rounded by training images).
        head: the head to export; None for the one that `model.keras` returns.
        weights: "ema" or "raw", see `Run.model`.
        input_type: of the pixels, 0..255, that the TFLite files take: "uint8" or "float32".
        dataset: another data set with the same classes; None for the run's own.
        data_dir: where TFDS keeps its prepared data sets; None for the run's own.
        verify_examples: how many test images each file is run over, taken at equal distances; 0
            for all.
        max_accuracy_drop: a file whose top-1 is more than this fraction below the Keras model's is
            kept as `student_<quantization>.rejected.tflite`; None for any drop.
        stop: asked between steps; once true, the export ends.

    Raises:
        InputError: if something asked for cannot be done.
        ExportRefusedError: if a file was rejected; everything is written, and `.report` of the
            error says what was found.
        Interrupted: because `stop()` was true.
    """
    quantizations = checked_quantizations(quantizations)
    _check_options(input_type, verify_examples, max_accuracy_drop)
    folder = user_path(output_dir)
    check_output_dir(folder)
    if (run is None) == (model is None):
        raise InputError("name either a run directory or `model`, and not both")
    with contextlib.ExitStack() as stack:
        if run is None:
            run = stack.enter_context(
                _run_of_model(
                    str(model),
                    labels=labels,
                    eval_crop_ratio=eval_crop_ratio,
                    dataset=dataset,
                    weights=weights,
                )
            )
        elif labels is not None or eval_crop_ratio is not None:
            name = "eval_crop_ratio" if labels is None else "labels"
            raise InputError(f"`{name}` is for `model`; a run directory has its own")
        run = Run(run)
        return _export(
            run,
            called=model or str(run.path),
            folder=folder,
            quantizations=quantizations,
            head=head,
            weights=weights,
            input_type=input_type,
            dataset=dataset,
            data_dir=data_dir,
            verify_examples=verify_examples,
            max_accuracy_drop=max_accuracy_drop,
            stop=stop,
        )


def _export(
    run: Run,
    *,
    called: str,
    folder: Path,
    quantizations: Sequence[str],
    head: str | None,
    weights: str | None,
    input_type: str,
    dataset: str | None,
    data_dir: str | None,
    verify_examples: int,
    max_accuracy_drop: float | None,
    stop: Callable[[], bool],
) -> ExportReport:
    quiet.ensure_tensorflow()
    from std_keras.exporting.tflite_files import TFLiteFiles

    checked, data = _load(
        run,
        head=head,
        weights=weights,
        dataset=dataset,
        data_dir=data_dir,
        count=verify_examples,
        test_only=not {"int8", "int4"} & set(quantizations),  # These look at training images.
        stop=stop,
    )
    make_output_dir(folder)
    report_file = folder / "report.json"
    digest = weights_digest(run, weights=weights)
    _remove_files_of_others(report_file, digest)
    report_file.unlink(missing_ok=True)  # It would describe files that are replaced now.
    _check_stop(stop)
    report = _write_saved_model(checked, run, folder, weights=weights, input_type=input_type)
    report = dataclasses.replace(
        report,
        model_dir=called,
        split_from=data.origins.get("test", ""),
        weights_sha256=digest,
    )
    files = TFLiteFiles(
        checked,
        folder=folder,
        dataset=data,
        input_type=input_type,
        max_accuracy_drop=max_accuracy_drop,
        stop=stop,
    )
    rows = {}
    for quantization in quantizations:
        _check_stop(stop)
        progress.say(f"converting to {quantization}")
        rows[quantization] = files.write(quantization, interrupt=lambda: _check_stop(stop))
    report = dataclasses.replace(report, tflite=rows)
    write_atomically(report_file, json.dumps(report.as_dict(), indent=2, allow_nan=False) + "\n")
    report.check()
    return report


def _remove_files_of_others(report_file: Path, digest: str | None) -> None:
    """Removes the TFLite files of an earlier export, unless it was one of the same weights.

    They would lie beside class names that are not theirs.
    """
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        before = json.loads(report_file.read_text(encoding="utf-8"))
        if digest is not None and before["weights_sha256"] == digest:
            return
    removed = []
    for quantization in QUANTIZATIONS:
        for file in report_file.parent.glob(f"student_{quantization}.*tflite"):
            file.unlink()
            removed.append(file.name)
    if removed:
        progress.say(f"{report_file.parent}: removed {', '.join(removed)}, of an earlier export")


@contextlib.contextmanager
def _run_of_model(
    model: str,
    *,
    labels: str | os.PathLike[str] | None,
    eval_crop_ratio: float | None,
    dataset: str | None,
    weights: str | None,
) -> Iterator[Run]:
    """Any Keras classifier as a run directory, which is removed afterwards."""
    if not dataset:
        raise InputError(
            "`dataset` is missing: the files of `model` are checked on its test images"
        )
    if weights is not None:
        raise InputError(f"weights={weights}: `model` has one set of weights; leave it out")
    quiet.ensure_tensorflow()
    from std_keras.exporting.any_classifier import run_of_classifier

    with tempfile.TemporaryDirectory() as folder:
        yield run_of_classifier(
            model,
            folder=Path(folder),
            labels=None if labels is None else os.fspath(labels),
            eval_crop_ratio=eval_crop_ratio,
        )


def checked_quantizations(
    names: Sequence[str], *, argument: str = "quantizations"
) -> tuple[str, ...]:
    """The names without repetitions.

    Args:
        names: see `export`.
        argument: what errors call them.

    Raises:
        InputError: if one is unknown, or none is given.
    """
    given = [names] if isinstance(names, str) else list(names)
    if not given:
        raise InputError(f"`{argument}` names no quantization; use {', '.join(QUANTIZATIONS)}")
    for name in given:
        if name not in QUANTIZATIONS:
            raise InputError(
                f"{argument}={','.join(given)}: {name!r} is not one of {', '.join(QUANTIZATIONS)}"
            )
    return tuple(dict.fromkeys(given))


def weights_digest(run: Run, *, weights: str | None = None) -> str | None:
    """The SHA-256 of `model.keras`, by which an export knows its run; None if others are meant.

    Args:
        run: the run.
        weights: see `export`.
    """
    file = run.directory.model_file
    averaged = run.config.optimization.ema_decay > 0
    if not file.is_file() or (weights == "raw" and averaged):
        return None
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _check_options(input_type: str, verify_examples: int, max_accuracy_drop: float | None) -> None:
    if input_type not in INPUT_TYPES:
        raise InputError(f"input_type={input_type} must be one of {', '.join(INPUT_TYPES)}")
    if verify_examples < 0:
        raise InputError(f"verify_examples={verify_examples} must be at least 0; 0 uses all")
    if max_accuracy_drop is not None and not 0 <= max_accuracy_drop <= 1:
        raise InputError(
            f"max_accuracy_drop={max_accuracy_drop:g} must be a fraction between 0 and 1"
        )


def _check_stop(stop: Callable[[], bool]) -> None:
    if stop():
        raise Interrupted(
            "interrupted; all files written are complete; run the same command again for the rest"
        )


def _load(
    run: Run,
    *,
    head: str | None,
    weights: str | None,
    dataset: str | None,
    data_dir: str | None,
    count: int,
    test_only: bool,
    stop: Callable[[], bool],
) -> tuple[Checked, DataSet]:
    """The model to export, what it says about the test images, and the data set."""
    from std_keras import exporting
    from std_keras.exporting.sample import sample
    from std_keras.exporting.tflite_files import Checked
    from std_keras.training import build

    trained = run.model(weights=weights)
    head = head or build.default_head(trained)
    model = exporting.inference_model(trained, head=head)
    data = build.data_of_run(
        run.path,
        dataset=dataset,
        data_dir=data_dir,
        model=model,
        test_only=test_only,
        progress=progress.stoppable(stop),
    )
    images, labels = sample(data.test, count, progress=progress.stoppable(stop))
    reference = model.predict(images, batch_size=128, verbose=0)
    if exporting.largest_difference(reference, reference) is None:
        raise InputError(
            f"model_dir={run.path}: the model returns non-finite values; export another model"
        )
    card = exporting.card_of_run(
        run.directory,
        model=model,
        head=head,
        dataset=data.name,
        top1=exporting.top1(reference, labels),
        examples=len(images),
    )
    return Checked(model, card, images, labels, reference), data


def _write_saved_model(
    checked: Checked, run: Run, folder: Path, *, weights: str | None, input_type: str
) -> ExportReport:
    """Writes the SavedModel and the labels; returns the report as far as it goes then."""
    from std_keras import exporting, models
    from std_keras.exporting.export_report import ExportReport
    from std_keras.exporting.report import machine
    from std_keras.exporting.saved_model import run_saved_model, size_on_disk

    path, card = folder / "saved_model", checked.card
    progress.say(f"writing {path}")
    exporting.write_saved_model(checked.model, path, crop_ratio=card.crop_ratio)
    logits = run_saved_model(path, checked.images)
    write_atomically(folder / "labels.txt", "".join(f"{label}\n" for label in card.labels))
    found: dict[str, Any] = {
        "bytes": size_on_disk(path),
        "top1": exporting.top1(logits, checked.labels),
        "max_logit_difference": exporting.largest_difference(logits, checked.reference),
    }
    averaged = run.config.optimization.ema_decay > 0
    return ExportReport(
        output_dir=folder,
        model_dir=str(run.path),
        model=checked.model.name,
        head=card.head,
        weights=weights or ("ema" if averaged else "raw"),
        dataset=card.dataset,
        split="test",
        examples=card.examples,
        input_type=input_type,
        machine=machine(),
        keras={"top1": card.top1, "parameters": models.trainable_parameters(checked.model)},
        saved_model=found,
    )
