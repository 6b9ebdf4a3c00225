"""Writes a table of exported students: bytes, operators, latency, and what quantisation costs.

Usage: python -m tools.export_table --output=results/export.csv --files_dir=runs/export_table
           [--model_dir=RUN --data_dir=D]

A finished run gives top-1. The other students have random weights, which are good for bytes,
operators and latency; of their predictions the table says how many stay the same. Files that
--files_dir holds are not converted again, so a second call measures on a quiet machine.
"""

from __future__ import annotations

import csv
import dataclasses
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from std_keras import progress, quiet
from std_keras.config.option import DATA, MODEL, RUN, Option
from std_keras.errors import InputError, Interrupted
from std_keras.programs import flags, program
from std_keras.programs.program import StopRequest

_OPTIONS = {
    "output": Option(
        topic=RUN, help="The CSV file to write; a Markdown file is put beside it.", kind=str
    ),
    "files_dir": Option(topic=RUN, help="Where the exported files are kept.", kind=str),
    "model_dir": Option(topic=MODEL, help="A finished run, whose top-1 is measured too.", kind=str),
    "data_dir": Option(topic=DATA, help="Where TFDS keeps its prepared data sets.", kind=str),
    "verify_examples": Option(
        topic=DATA, help="Test images for the run's top-1; 0 for all.", kind=int
    ),
    "only": Option(
        topic=MODEL,
        help="Names of students, separated by commas; all; or none, for the run alone. The "
        "others keep the rows that the file has.",
        kind=str,
    ),
    "quantizations": Option(
        topic=MODEL,
        help="Kinds of files, separated by commas. The others keep the rows that the file has.",
        kind=str,
    ),
    "latency": Option(
        topic=RUN,
        help="Measure latencies: on a quiet machine. Without it their cells stay empty.",
        kind=bool,
    ),
}
_QUANTIZATIONS = ("float32", "float16", "dynamic", "int8", "int4")
# name: model, side of the images, options. One token set each, at the last site, as the run has.
_STUDENTS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "mixer_s4_32px": ("mixer_s16", 32, {"patch_size": 4}),
    "resmlp_s12_32px": ("resmlp_s12", 32, {"patch_size": 4}),
    "cyclemlp_b1_32px": ("cyclemlp_b1", 32, {"patch_size": 2}),
    "gmlp_ti4_32px": ("gmlp_ti16", 32, {"patch_size": 4}),
    "mixer_s32_224px": ("mixer_s32", 224, {}),
    "resmlp_s12_224px": ("resmlp_s12", 224, {}),
    "cyclemlp_b1_224px": ("cyclemlp_b1", 224, {}),
    "gmlp_ti16_224px": ("gmlp_ti16", 224, {}),
}
_WHERE = re.compile(r"^Latencies on (.+?); batch 1", re.MULTILINE)
_RANDOM_IMAGES = 32
_TIMINGS = 3
_CALIBRATION_IMAGES = 16


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Which files, where they are kept, and whether they are timed."""

    folder: Path
    kinds: Sequence[str]
    latency: bool


@dataclasses.dataclass(frozen=True)
class Row:
    """One file; numbers as text, empty where there is none."""

    student: str
    quantization: str
    bytes: str
    ops: str
    xnnpack_partitions: str
    latency_ms_1_thread: str
    latency_ms_2_threads: str
    top1: str
    top1_drop: str
    same_predictions: str
    max_logit_difference: str
    largest_logit: str


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, converts what is not there, measures, and writes the table."""
    parsed = flags.parse(
        arguments,
        program="python -m tools.export_table",
        about=str(__doc__),
        options=_OPTIONS,
        defaults={
            "verify_examples": 0,
            "only": "all",
            "quantizations": ",".join(_QUANTIZATIONS),
            "latency": True,
        },
        required=("output", "files_dir"),
    )
    output, folder = Path(parsed["output"]), Path(parsed["files_dir"])
    if output.suffix != ".csv":
        raise InputError(f"--output={output} must end in .csv")
    every = {"all": list(_STUDENTS), "none": []}
    only = every.get(parsed["only"], parsed["only"].split(","))
    for name in only:
        if name not in _STUDENTS:
            raise InputError(f"--only={name} is not one of {', '.join(_STUDENTS)}")
    kinds = parsed["quantizations"].split(",")
    for kind in kinds:
        if kind not in _QUANTIZATIONS:
            raise InputError(f"--quantizations={kind} is not one of {', '.join(_QUANTIZATIONS)}")
    wanted = Wanted(folder, kinds, latency=parsed["latency"])
    quiet.load_tensorflow()
    folder.mkdir(parents=True, exist_ok=True)
    output.parent.mkdir(parents=True, exist_ok=True)

    rows: list[Row] = []
    if parsed["model_dir"]:
        rows.extend(_rows_of_run(parsed, wanted, stop))
        _save(output, rows, timed=wanted.latency)
    for name in only:
        rows.extend(_rows_of_student(name, wanted, stop))
        _save(
            output, rows, timed=wanted.latency
        )  # What is done stays, whatever happens to the next.
    progress.say(f"wrote {output} and {output.with_suffix('.md')}")


def _rows_of_run(parsed: dict[str, Any], wanted: Wanted, stop: StopRequest) -> Iterator[Row]:
    from std_keras import exporting
    from std_keras.exporting.sample import sample
    from std_keras.runs.trained import load_trained
    from std_keras.training import build

    run = Path(parsed["model_dir"])
    trained = load_trained(run)
    model = exporting.inference_model(trained, head=build.default_head(trained))
    dataset = build.data_of_run(
        run, dataset=None, data_dir=parsed["data_dir"], model=model, progress=progress.track
    )
    images, labels = sample(dataset.test, parsed["verify_examples"], progress=progress.track)
    calibration = sample(dataset.train, 200, progress=progress.track)[0]
    yield from _rows(f"run {run.name}", model, wanted, images, labels, calibration, stop)


def _rows_of_student(name: str, wanted: Wanted, stop: StopRequest) -> Iterator[Row]:
    import keras

    from std_keras import exporting, models
    from tools.benchmarks import photos

    model_name, side, options = _STUDENTS[name]
    keras.utils.set_random_seed(0)
    student = models.create_student(
        model_name,
        input_shape=(side, side, 3),
        num_classes=100 if side == 32 else 1000,
        teacher_sites=["last"],
        **options,
    )
    like_trained(student)
    images = photos.squares(_RANDOM_IMAGES + _CALIBRATION_IMAGES, side)
    model = exporting.inference_model(student, head="average")
    calibration = images[_RANDOM_IMAGES:]
    yield from _rows(name, model, wanted, images[:_RANDOM_IMAGES], None, calibration, stop)
    keras.utils.clear_session()


def _latency(content: bytes, image: Any, num_threads: int) -> float:
    """Milliseconds: the smallest of some medians, since other programs disturb some."""
    from std_keras.exporting import time_file

    return min(time_file(content, image=image, num_threads=num_threads) for _ in range(_TIMINGS))


def like_trained(student: Any) -> None:
    """Random values for weights that start as constants, so that no operator falls away.

    Class heads start at zero, and would predict nothing; norms start without scale and shift.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    for weight in student.weights:
        values = weight.numpy()
        if values.size > 1 and np.ptp(values) == 0:
            scale = 0.1 if values.ndim == 1 else 1 / np.sqrt(values.shape[0])
            weight.assign(values + scale * rng.normal(size=values.shape))


def _rows(
    name: str,
    model: Any,
    wanted: Wanted,
    images: Any,
    labels: Any,
    calibration: Any,
    stop: StopRequest,
) -> Iterator[Row]:
    import numpy as np

    from std_keras import exporting
    from std_keras.exporting.quantize import needs_images

    reference = model.predict(images, batch_size=32, verbose=0)
    float32: bytes | None = None
    for quantization in _QUANTIZATIONS:
        if stop:
            raise Interrupted("interrupted; the same command uses the files that are there")
        if quantization not in (*wanted.kinds, "float32"):  # From which the others are made.
            continue
        path = wanted.folder / f"{name.replace(' ', '_')}_{quantization}.tflite"
        if not path.is_file():
            progress.say(f"converting {path.name}")
            content = exporting.convert(
                model,
                quantization=quantization,
                representative_images=calibration if needs_images(quantization) else None,
                float32_content=float32,
            )
            path.write_bytes(content)
        content = path.read_bytes()
        float32 = content if quantization == "float32" else float32
        if quantization not in wanted.kinds:
            continue
        run = exporting.run_file(content, images=images, name=path.name, progress=progress.track)
        same = np.mean(run.logits.argmax(1) == reference.argmax(1))
        difference = exporting.largest_difference(run.logits, reference)
        times = ["", ""]
        if wanted.latency:
            times = [f"{_latency(content, images[0], threads):.2f}" for threads in (1, 2)]
        drop = ""
        if labels is not None:
            drop = f"{exporting.top1(reference, labels) - exporting.top1(run.logits, labels):+.4f}"
        yield Row(
            student=name,
            quantization=quantization,
            bytes=str(len(content)),
            ops=str(sum(exporting.count_ops(content).values())),
            xnnpack_partitions=str(exporting.xnnpack_partitions(content)),
            latency_ms_1_thread=times[0],
            latency_ms_2_threads=times[1],
            top1="" if labels is None else f"{exporting.top1(run.logits, labels):.4f}",
            top1_drop=drop,
            same_predictions=f"{same:.4f}",
            max_logit_difference="not finite" if difference is None else f"{difference:.2e}",
            largest_logit=f"{np.abs(reference).max():.2f}",
        )


def _save(output: Path, measured: Sequence[Row], *, timed: bool) -> None:
    """Writes the table and the page, with the other rows that the table has."""
    from std_keras.exporting.report import machine

    rows = _with_former(output, measured)
    _write(output, rows)
    about, page = machine(), output.with_suffix(".md")
    where = f"{about['cores']} cores of an {about['cpu']}"
    if not timed and page.is_file():  # The times that are there stay those of their machine.
        former = _WHERE.search(page.read_text(encoding="utf-8"))
        where = former[1] if former else where
    page.write_text(_markdown(rows, output.name, where), encoding="utf-8")


def _with_former(path: Path, rows: Sequence[Row]) -> list[Row]:
    """The rows, and the others that the file has; runs first, then students in our order."""
    found: dict[tuple[str, str], Row] = {}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            for former in csv.DictReader(file):
                found[former["student"], former["quantization"]] = Row(**former)
    found |= {(row.student, row.quantization): row for row in rows}
    students = list(_STUDENTS)
    names = list(dict.fromkeys(name for name, _ in found))
    names.sort(key=lambda name: students.index(name) if name in students else -1)
    order = [(name, kind) for name in names for kind in _QUANTIZATIONS]
    return [found[key] for key in order if key in found]


def _write(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        names = [field.name for field in dataclasses.fields(Row)]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)


def _markdown(rows: Sequence[Row], source: str, machine: str) -> str:
    names = [field.name for field in dataclasses.fields(Row)]
    lines = [
        "# Exported students",
        "",
        f"Made with `{source}` by",
        "",
        "    python -m tools.export_table --output=results/export.csv "
        "--files_dir=runs/export_table --model_dir=RUN",
        "",
        f"Latencies on {machine}; batch 1, LiteRT, the smallest of "
        f"{_TIMINGS} medians of 50 inferences. Students "
        "without a run have random weights and one token set at the last site; their column "
        f"`same_predictions` is the fraction of {_RANDOM_IMAGES} photographs whose class is that "
        "of the Keras model. Empty cells were not measured.",
        "",
        "| " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "|"
        + "|".join("---" if name in ("student", "quantization") else "---:" for name in names)
        + "|",
    ]
    lines += ["| " + " | ".join(dataclasses.asdict(row).values()) + " |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(program.run(main))
