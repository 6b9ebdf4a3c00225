"""The section of the page that compares runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from std_keras import data, progress, teachers
from std_keras.data import DataSet
from std_keras.data.limit import limited_source
from std_keras.data.source import IndexedSource
from std_keras.errors import InputError
from std_keras.research.analysis import predictions, run_comparison
from std_keras.research.analysis.run_comparison import Record
from std_keras.research.studies import figures, page
from std_keras.research.studies.output import Result
from std_keras.research.studies.samples import Sampled, class_blocks, sample_blocks
from std_keras.runs.trained import load_trained
from std_keras.training import build, teacher_views

_NATS = "cross-entropy in nats"


def run(
    records: Sequence[Record],
    exported: Sequence[Mapping[str, Any]],
    parsed: Mapping[str, Any],
    *,
    stop: Callable[[], bool],
) -> Result:
    """Compares runs; mistakes and samples come from those that are finished."""
    flags = run_comparison.differing_options([record.config for record in records])
    sampled = _predict([r for r in records if r.run.model_file.is_file()], parsed, stop)
    blocks: list[page.Block] = [
        *_result_blocks(records),
        *_flag_blocks(records, flags),
        *_curve_blocks(records),
    ]
    if sampled is not None:
        blocks += class_blocks(sampled)
        blocks += sample_blocks(sampled)
    blocks += _export_blocks(exported)
    count = sampled.said.size if sampled is not None else 0
    return Result(
        section=page.Section(
            name="runs",
            title="Runs compared",
            subject=", ".join(str(r.run.path) for r in records)
            + (f"; mistakes and samples on {count} test images" if count else ""),
            blocks=blocks,
        ),
        figures={
            "runs": [run_comparison.as_dict(record) for record in records],
            "differing_flags": flags,
            "predictions": sampled.as_dict() if sampled is not None else None,
            "exports": list(exported),
        },
    )


def _predict(
    finished: Sequence[Record], parsed: Mapping[str, Any], stop: Callable[[], bool]
) -> Sampled | None:
    """The predictions of all heads of the finished runs for the first run's test images."""
    if not finished:
        return None
    first = finished[0]
    dataset = build.data_of_run(
        first.run.path,
        dataset=parsed["dataset"],
        data_dir=parsed["data_dir"],
        model=load_trained(first.run.path),
        test_only=True,
        progress=progress.stoppable(stop),
    )
    specs = [teachers.TeacherSpec(str(record.run.path)) for record in finished]
    sizes = [teacher_views.view_size(spec, dataset) for spec in specs]
    classifiers = [
        _classifier(record, spec, dataset, view_size=size)
        for record, spec, size in zip(finished, specs, sizes, strict=True)
    ]
    source = dataset.test
    if parsed["examples"] and parsed["examples"] < source.size:
        if not isinstance(source, IndexedSource):
            raise InputError(
                f"--examples={parsed['examples']}: {dataset.name} is too large for memory and is "
                "read in one pass, without random access; use --examples=0"
            )
        source = limited_source(source, parsed["examples"], flag="examples")
    size = min(parsed["batch_size"], source.size)
    batches = progress.track(
        data.evaluation_batches(
            source, batch_size=size, view_sizes=teacher_views.larger(sizes, dataset)
        ),
        total=-(-source.size // size),
        what="test images",
    )
    shown: list[np.ndarray] = []
    numbers = _spread(source.size, parsed["samples"])

    def kept(batches: Any) -> Any:
        """Passes batches on, and keeps the images that will be shown."""
        seen = 0
        for batch in batches:
            shown.extend(np.asarray(batch["images"])[numbers[_within(numbers, seen, size)] - seen])
            seen += size
            yield batch

    said = predictions.collect(classifiers, kept(batches), stop=stop)
    return Sampled(
        said=said,
        main=[c.label(c.main_head) for c in classifiers],
        label_names=dataset.label_names,
        numbers=numbers,
        images=shown,
    )


def _spread(size: int, count: int) -> np.ndarray:
    """`count` distinct, evenly spaced integers below `size`."""
    count = min(count, size)
    return (np.arange(count) * size + size // 2) // max(count, 1)


def _within(numbers: np.ndarray, seen: int, size: int) -> np.ndarray:
    return (numbers >= seen) & (numbers < seen + size)


def _classifier(
    record: Record, spec: teachers.TeacherSpec, dataset: DataSet, *, view_size: int
) -> predictions.Classifier:
    try:
        teacher = build.load_teacher(spec, dataset, view_size=view_size)
    except InputError as error:
        # The loader of teachers names its own flag.
        raise InputError(str(error).replace("teacher=", "run ", 1)) from error
    return predictions.of_teacher(teacher, name=record.name)


def _result_blocks(records: Sequence[Record]) -> list[page.Block]:
    rows = []
    for record in records:
        result = record.result or {}
        heads = result.get("heads", {})
        single = {h: v for h, v in heads.items() if h == "classification" or "_" in h}
        others = single if len(single) > 1 else {}
        rows.append(
            [
                record.name,
                record.config.model.name,
                page.percent(result.get("top1")) if result else "not finished",
                page.percent(result.get("top5")),
                f"{result['parameters']:,}" if result.get("parameters") else "–",  # noqa: RUF001
                result.get("epochs"),
                _rate(result.get("images_per_second")),
                _hours(result.get("train_seconds")),
                ", ".join(record.teachers) or "none",
                "; ".join(f"{h} {page.percent(v.get('top1'))}" for h, v in others.items()),
            ]
        )
    columns = ["run", "model", "top-1", "top-5", "parameters", "epochs"]
    columns += ["images/s", "time", "teachers", "single heads"]
    return [
        page.Text("Of the head and the weights in model.keras, on the test part.", title="Results"),
        page.Table(columns, rows),
    ]


def _rate(images_per_second: float | None) -> str | None:
    return None if images_per_second is None else f"{images_per_second:,.0f}"


def _hours(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{seconds:.0f} s"


def _flag_blocks(records: Sequence[Record], flags: Mapping[str, list[Any]]) -> list[page.Block]:
    if len(records) < 2:
        return []
    if not flags:
        return [page.Text("All flags are the same.", title="Differing flags")]
    rows = [[f"--{name}", *(_flag(v) for v in values)] for name, values in flags.items()]
    return [
        page.Text("", title="Differing flags"),
        page.Table(["flag", *(r.name for r in records)], rows, wrap=True),
    ]


def _flag(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "not given" if value is None else str(value)


def _curve_blocks(records: Sequence[Record]) -> list[page.Block]:
    pictures = []
    for name, of_run, title, axis in (
        ("loss", lambda r: r.curve("train", "loss/total"), "Training loss", "loss"),
        ("top1", lambda r: r.watched("top1"), "Accuracy of the main head", "top-1"),
        ("test_loss", lambda r: r.watched("loss"), "Loss of the main head", _NATS),
    ):
        found = [(r, of_run(r)) for r in records]
        curves = {
            r.name if name == "loss" else f"{r.name} ({r.watched_part})": curve
            for r, curve in found
            if curve[0]
        }
        if curves:
            drawn = figures.lines(curves, title=title, x="epoch", y=axis)
            pictures.append(page.Picture(f"curve_{name}", drawn, f"{title} over the epochs."))
    if not pictures:
        return []
    note = "A loss with distillation is another sum than one without; compare those of like runs."
    return [page.Text(note, title="Curves"), page.Pictures(pictures)]


def _export_blocks(exported: Sequence[Mapping[str, Any]]) -> list[page.Block]:
    rows = []
    for export in exported:
        for name, file in export["tflite"].items():
            rows.append(
                [
                    export["folder"],
                    name,
                    f"{file['bytes'] / 1e6:.2f} MB",
                    page.percent(file["top1"]),
                    f"{100 * file['accuracy_drop']:+.2f}",
                    file["max_logit_difference"],
                    f"{file['latency_ms']:.2f} ms",
                    file.get("refused") or "",
                ]
            )
    if not rows:
        return []
    machine = ", ".join(
        dict.fromkeys(str(e.get("machine", {}).get("cpu", "unknown")) for e in exported)
    )
    columns = ["export", "file", "size", "top-1", "drop (points)", "largest difference"]
    return [
        page.Text(
            "Drop and difference: against the Keras model on the same images. Time: the median of "
            f"single inferences on one thread of {machine}.",
            title="Exports",
        ),
        page.Table([*columns, "time", "refused"], rows),
    ]
