"""`std_keras.compare`: which exported file of which run to ship."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from std_keras import progress, quiet
from std_keras.config.option import POSITIVE, Option, check_value
from std_keras.config.run import RunOptions
from std_keras.errors import InputError
from std_keras.exporting.export import checked_quantizations, weights_digest
from std_keras.exporting.file_kinds import QUANTIZATIONS
from std_keras.files.paths import user_path
from std_keras.runs.run import Run
from std_keras.runs.run_directory import RunDirectory, write_atomically

if TYPE_CHECKING:
    from std_keras.research.analysis.shipping import Candidate, Comparison

# A classifier in a file: FILE.keras[,option=value]...
_FILE = re.compile(r"(?P<file>.*\.keras)(,[a-z]+=[^,]*)*")
_BUDGET = Option(topic="", help="", kind=float, **POSITIVE)


def compare(
    runs: Sequence[Run | str | os.PathLike[str]],
    *,
    output_dir: str | os.PathLike[str],
    budget_mb: float | None = None,
    budget_ms: float | None = None,
    best_by: str = "top1",
    quantizations: Sequence[str] = QUANTIZATIONS,
    dataset: str | None = None,
    data_dir: str | None = None,
    examples: int = 1000,
    labels: str | os.PathLike[str] | None = None,
    eval_crop_ratio: float | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Comparison:
    """Exports runs, runs every file, and says which one to ship.

    An export that is there already is used if it is one of the same weights, checked on the same
    images. The times are measured anew, of all files in turns.

    Args:
        runs: run directories, `std_keras:NAME`, or folders that `std_keras.export` wrote: of a
            teacher, its students, and students without a teacher; and any Keras classifiers,
            `FILE.keras[,input=...][,size=N]`, as of a teacher. Of a file in a run directory the
            run says everything; another is checked on the images of the first run.
        output_dir: where compare.json, the section of report.html and the exports are written.
        budget_mb: the largest file, in units of 1,000,000 bytes; None for any.
        budget_ms: the longest inference on one thread of this machine; None for any.
        best_by: the accuracy that decides, "top1" or "balanced_accuracy".
        quantizations: see `std_keras.export`.
        dataset: another data set with the same classes for all; None for their own, which must be
            the same.
        data_dir: where TFDS keeps its prepared data sets; None for the runs' own.
        examples: at most this many evenly spaced test images; 0 for all.
        labels: of the classifiers in files: see `std_keras.export`.
        eval_crop_ratio: likewise.
        stop: asked between steps; once true, the work ends.

    Raises:
        InputError: if a folder is none of ours, or the runs were not measured on the same images.
        Interrupted: because `stop()` was true; exports that are finished are used again.
    """
    quantizations = checked_quantizations(quantizations)
    for name, value in (("budget_mb", budget_mb), ("budget_ms", budget_ms)):
        if value is not None:
            check_value(name, _BUDGET, value)
    check_value("best_by", RunOptions.options()["best_by"][1], best_by)
    if examples < 0:
        raise InputError(f"examples={examples} must be at least 0; 0 uses all")
    if not runs:
        raise InputError("`runs` is empty; name at least one run directory")
    places = [os.fspath(run) for run in runs]
    for place in places:
        _refuse_what_is_no_run(place)
    if not any(map(_file_in, places)) and (labels is not None or eval_crop_ratio is not None):
        name = "eval_crop_ratio" if labels is None else "labels"
        raise InputError(f"`{name}` is for classifiers in .keras files; none is named")
    quiet.ensure_tensorflow()
    from std_keras.exporting.report import machine
    from std_keras.research.analysis import predictions, shipping
    from std_keras.research.studies import output, shipping_section

    directory = RunDirectory(output_dir)
    directory.prepare(flag="output_dir")
    try:
        output.refuse_foreign_page(directory.path)
        names = predictions.short_names(
            [
                place if (file := _file_in(place)) is None else str(file.with_suffix(""))
                for place in places
            ]
        )
        reports = {}
        for name, place in zip(names, places, strict=True):
            folder = directory.path / "exports" / name.replace("/", "_")
            run = place
            if (file := _file_in(place)) is not None:
                run = _run_of_file(
                    place,
                    file,
                    folder=directory.path / "classifiers" / name.replace("/", "_"),
                    labels=labels,
                    eval_crop_ratio=eval_crop_ratio,
                    images_of=None if dataset else _first_run(places),
                    dataset=dataset,
                )
            reports[name] = _exported(
                run,
                folder=folder,
                quantizations=quantizations,
                dataset=dataset,
                data_dir=data_dir,
                examples=examples,
                stop=stop,
            )
        _refuse_other_images(reports)
        files = _candidates(reports, roles=_roles(names, places), stop=stop)
        first = next(iter(reports.values()))
        found = shipping.compare(
            files,
            dataset=first["dataset"],
            examples=first["examples"],
            budget_mb=budget_mb,
            budget_ms=budget_ms,
            metric=best_by,
            machine=machine(),
        )
        output.write(shipping_section.result(found, subject=", ".join(places)), directory.path)
        write_atomically(
            directory.path / "compare.json",
            json.dumps(found.as_dict(), indent=2, allow_nan=False) + "\n",
        )
    finally:
        directory.release()
    progress.say(f"open {directory.path / output.PAGE}")
    return found


def _file_in(place: str) -> Path | None:
    """The `.keras` file that it names; None for a run or an export."""
    found = _FILE.fullmatch(place)
    return user_path(found["file"]) if found else None


def _first_run(places: Sequence[str]) -> Run | None:
    runs = [Run(place) for place in places if _file_in(place) is None]
    return next((run for run in runs if run.directory.exists()), None)


def _run_of_file(
    place: str,
    file: Path,
    *,
    folder: Path,
    labels: str | os.PathLike[str] | None,
    eval_crop_ratio: float | None,
    images_of: Run | None,
    dataset: str | None,
) -> str:
    """Makes a run directory of a classifier in a `.keras` file; returns its name."""
    from std_keras.exporting.any_classifier import run_of_classifier
    from std_keras.teachers.spec import parse

    own = Run(file.parent)
    if own.directory.exists():
        images_of = None if dataset else own
        if parse(place).input is None:
            place = f"{place},input=byte"
        if eval_crop_ratio is None:
            eval_crop_ratio = own.config.augmentation.eval_crop_ratio
    if images_of is None and not dataset:
        raise InputError(
            f"`dataset` is missing: no run says which images {place} is to be checked on"
        )
    shutil.rmtree(folder, ignore_errors=True)
    try:
        return str(
            run_of_classifier(
                place,
                folder=folder,
                labels=None if labels is None else os.fspath(labels),
                eval_crop_ratio=eval_crop_ratio,
                images_of=images_of,
            )
        )
    except InputError as error:
        raise InputError(str(error).replace("model=", "", 1)) from error


def _refuse_what_is_no_run(place: str) -> None:
    if (file := _file_in(place)) is not None:
        if not file.is_file():
            raise InputError(f"{file} does not exist")
        return
    path = Run(place).path
    if not (RunDirectory(path).exists() or _read_report(path)):
        raise InputError(
            f"{place} is neither a run directory (it has no config.json) nor a folder that "
            "std-keras export wrote (it has no report.json) nor a .keras file"
        )


def _exported(
    place: str,
    *,
    folder: Path,
    quantizations: Sequence[str],
    dataset: str | None,
    data_dir: str | None,
    examples: int,
    stop: Callable[[], bool],
) -> dict[str, Any]:
    """The report of an export as in `report.json`, with its `folder`."""
    from std_keras.exporting.export import export
    from std_keras.exporting.export_report import ExportRefusedError

    path = Run(place).path
    if not RunDirectory(path).exists():
        report = _read_report(path)
        if "split_from" not in report or dataset is not None:
            raise InputError(
                f"{place}: the export was "
                + (
                    "checked on its own data"
                    if "split_from" in report
                    else "made by an old version"
                )
                + f"; name the run directory instead, {report.get('model_dir', 'RUN')}"
            )
        return report
    run = Run(place)
    for known in dict.fromkeys([folder, *sorted(p.parent for p in path.glob("*/report.json"))]):
        report = _read_report(known)
        if _same(report, run, quantizations=quantizations, dataset=dataset, examples=examples):
            progress.say(f"{place}: its export in {known} is used")
            asked = {q: row for q, row in report["tflite"].items() if q in quantizations}
            return {**report, "tflite": asked}
    progress.say(f"exporting {place} to {folder}")
    try:
        export(
            run,
            output_dir=folder,
            quantizations=quantizations,
            dataset=dataset,
            data_dir=data_dir,
            verify_examples=examples,
            stop=stop,
        )
    except ExportRefusedError as error:
        progress.warn(f"{place}: {error}")
    return _read_report(folder)


def _read_report(folder: Path) -> dict[str, Any]:
    """What `report.json` of an export holds, with its `folder`; empty if it is none."""
    try:
        content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or "tflite" not in content:
        return {}
    return {**content, "folder": folder}


def _same(
    report: dict[str, Any],
    run: Run,
    *,
    quantizations: Sequence[str],
    dataset: str | None,
    examples: int,
) -> bool:
    """Whether an export is the one that would be made now."""
    from std_keras.data import folder_content

    def named(data: str) -> str:
        return folder_content.place(data) or data

    digest, result = weights_digest(run), run.result or {}
    if not report or digest is None or report.get("weights_sha256") != digest:
        return False
    wanted = dataset or run.config.data.dataset
    known = {} if dataset else run.directory.read_examples() or {}
    size = known.get("test") or examples
    return bool(
        named(report["dataset"]) == named(wanted)
        and report["examples"] == min(examples or size, size)
        and report["head"] == result.get("head")
        and report["input_type"] == "uint8"
        and all(
            name in report["tflite"]
            and (report["folder"] / report["tflite"][name]["file"]).is_file()
            for name in quantizations
        )
    )


def _refuse_other_images(reports: dict[str, dict[str, Any]]) -> None:
    """Raises InputError unless all were checked on the same test images of the same classes."""
    from std_keras.data import folder_content

    first, *others = reports
    for other in others:
        one, two = reports[first], reports[other]
        for what, a, b in (
            (
                "images",
                *(folder_content.place(r["dataset"]) or r["dataset"] for r in (one, two)),
            ),
            ("test images", one["examples"], two["examples"]),
            ("test images from", one["split_from"], two["split_from"]),
            ("classes", *(_labels(r["folder"]) for r in (one, two))),
        ):
            if a != b:
                raise InputError(
                    f"{first} and {other} cannot be compared: they were checked on other {what} "
                    f"({_short(a)}, {_short(b)}); name one data set for all with dataset=..."
                )


def _short(value: Any) -> str:
    return ", ".join(value[:3]) + ", ..." if isinstance(value, tuple) else str(value)


def _labels(folder: Path) -> tuple[str, ...]:
    return tuple((folder / "labels.txt").read_text(encoding="utf-8").splitlines())


def _roles(names: Sequence[str], places: Sequence[str]) -> dict[str, str]:
    """Whether each run is a teacher of another, a student, or learned without a teacher.

    Of a classifier in a file only the run that it lies in, or whose teacher it is, can say it.
    """
    from std_keras.research.analysis.shipping import ALONE, ELSEWHERE, STUDENT, TEACHER
    from std_keras.teachers.spec import parse

    of_run = {}
    for name, place in zip(names, places, strict=True):
        file = _file_in(place)
        path = (file or Run(place).path).resolve()
        if file is not None:
            of_run[name] = path.parent if RunDirectory(path.parent).exists() else path
        elif RunDirectory(path).exists():
            of_run[name] = path
        else:  # An export says where its run was.
            of_run[name] = user_path(_read_report(path).get("model_dir", path)).resolve()
    taught, teachers = set(), set()
    for name, path in of_run.items():
        if not RunDirectory(path).exists():
            continue
        options = Run(path).config.distillation
        if options.uses_teachers:
            taught.add(name)
            teachers |= {user_path(parse(t).source).resolve() for t in options.teachers}
    return {
        name: TEACHER
        if path in teachers
        else STUDENT
        if name in taught
        else ELSEWHERE
        if path.is_file()
        else ALONE
        for name, path in of_run.items()
    }


def _candidates(
    reports: dict[str, dict[str, Any]], *, roles: dict[str, str], stop: Callable[[], bool]
) -> list[Candidate]:
    """Every file that is fit for use, with the times of this machine."""
    from std_keras.exporting import timing
    from std_keras.research.analysis.shipping import Candidate

    rows = [
        (name, quantization, report["folder"] / row["file"], row)
        for name, report in reports.items()
        for quantization, row in report["tflite"].items()
        if not row["refused"]
    ]
    if not rows:
        raise InputError("every file is rejected; none can be compared")
    times = timing.in_turns([file for *_, file, _ in rows], stop=stop, progress=progress.track)
    return [
        Candidate(
            run=name,
            role=roles[name],
            quantization=quantization,
            file=file,
            bytes=row["bytes"],
            top1=row["top1"],
            balanced_accuracy=row["balanced_accuracy"],
            latency_ms=time.latency,
            latency_ms_2_threads=time.latency_2_threads,
            cold_start_ms=time.cold_start,
        )
        for (name, quantization, file, row), time in zip(rows, times, strict=True)
    ]
