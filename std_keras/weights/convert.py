"""From a file of weights to a run directory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from std_keras import models, progress
from std_keras.config import TrainConfig
from std_keras.config import options as config_options
from std_keras.errors import InputError
from std_keras.runs.run_directory import RunDirectory
from std_keras.weights.layout import Facts, Layout
from std_keras.weights.layouts import choose_layout
from std_keras.weights.load import LoadReport, load_weights, log_report
from std_keras.weights.run import check_output, read_label_names, write_run
from std_keras.weights.source import SourceWeights, read_source


@dataclass(frozen=True)
class ConvertOptions:
    """What a file is to become.

    Attributes:
        model: registered name of the model.
        layout: the code base that the file is from, or "auto".
        file_format: "torch", "npz" or "auto".
        place: keys of a PyTorch file that lead to the weights, joined by "/"; None to find them.
        image_size: side of the images in pixels; None for what the weights need.
        num_classes: of the class head; None for the file's.
        options: of the model, as `std_keras.models.create` takes them; they override what the
            layout needs for equal outputs.
        mean: per channel, of pixels in 0..1; None for what the weights were trained with.
        std: standard deviation, in the same form.
        site: of a student's teacher, "last" or "both"; None for what the file says.
        labels: file of class names; None for numbers.
        dataset: the data set that evaluate takes by default; "" for none.
        allow_partial: whether weights may be left new, and arrays unused.
    """

    model: str
    layout: str = "auto"
    file_format: str = "auto"
    place: str | None = None
    image_size: int | None = None
    num_classes: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    site: str | None = None
    labels: str | Path | None = None
    dataset: str = ""
    allow_partial: bool = False


@dataclass(frozen=True)
class Conversion:
    """What was made.

    Attributes:
        run: the run directory.
        layout: the layout that the file had.
        report: what was loaded.
        source: the file.
        notes: sentences that the user should read.
    """

    run: RunDirectory
    layout: Layout
    report: LoadReport
    source: SourceWeights
    notes: tuple[str, ...]


class PartialLoadError(InputError):
    """Some weights are missing or some arrays are unused, and that was not allowed.

    Attributes:
        report: all of them.
    """

    def __init__(self, message: str, report: LoadReport) -> None:
        super().__init__(message)
        self.report = report


def convert(
    source: str | Path,
    *,
    model: str,
    output: str | Path,
    layout: str = "auto",
    format: str = "auto",
    place: str | None = None,
    image_size: int | None = None,
    num_classes: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    site: str | None = None,
    labels: str | Path | None = None,
    dataset: str = "",
    allow_partial: bool = False,
    **model_options: Any,
) -> Conversion:
    """Converts weights of another code base to a run directory; no code in the file is executed.

    What was loaded, and what was not, is logged. Weights that the file does not have are drawn
    anew, from one seed.

    Args:
        source: a PyTorch file (.pth, .pt, .th) or .npz.
        model: registered name of the model.
        output: the run directory, which must not exist or be empty.
        layout: the code base whose names the file has; "auto" tells it by the names.
        format: "torch", "npz", or "auto", which looks at the content.
        place: keys that lead to the weights in a PyTorch file that holds several, joined by "/".
        image_size: side of the images in pixels; None for what the weights need.
        num_classes: of the class head; None for the file's.
        mean: what is subtracted from pixels of 0..1, one number or one per channel; None for what
            the code base trains with.
        std: standard deviation to divide by, in the same form.
        site: where a student of the PyTorch reproduction was distilled, "last" or "both"; None for
            what the file says.
        labels: file of class names, one a line; None for numbers.
        dataset: the data set that evaluate and export take if none is given; "" for none.
        allow_partial: whether weights may be left new, and arrays unused.
        **model_options: of the model, such as `patch_size`, as `std_keras.models.create` takes
            them.

    Raises:
        InputError: if the file cannot be read, or does not fit the model.
        PartialLoadError: if it fits in part.
    """
    keras.utils.set_random_seed(0)  # For weights that the file does not have.
    options = ConvertOptions(
        model=model,
        layout=layout,
        file_format=format,
        place=place,
        image_size=image_size,
        num_classes=num_classes,
        options=model_options,
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
        site=site,
        labels=labels,
        dataset=dataset,
        allow_partial=allow_partial,
    )
    try:
        done = convert_weights(source, output=output, options=options)
    except PartialLoadError as error:
        log_report(error.report)
        raise
    found = done.source
    within = f" under {found.place!r}" if found.place else ""
    progress.say(f"{found.path}: {found.file_format}{within}, {done.layout.source}")
    for other in found.others:
        progress.say(f"the file has other weights under {other!r}; use them with place={other}")
    for note in done.notes:
        progress.say(note)
    log_report(done.report)
    if labels is None:
        progress.say("without `labels` the classes in labels.txt are named by their numbers")
    progress.say(f"{len(done.report.loaded)} weights loaded; {done.run.path}")
    return done


def convert_weights(
    source: str | Path, *, output: str | Path, options: ConvertOptions
) -> Conversion:
    """Reads weights of another code base and writes a run directory with their model.

    Args:
        source: a PyTorch or .npz file.
        output: the run directory, which must not exist or be empty.
        options: what it is to become.

    Raises:
        InputError: if the file cannot be read, or does not fit the model.
        PartialLoadError: if it fits in part.
    """
    models.registry.resolve(options.model)  # Refuses an unknown name before the file is read.
    for name in ("image_size", "num_classes"):
        if (given := getattr(options, name)) is not None and given < 1:
            raise InputError(f"{name}={given} must be at least 1")
    run = check_output(output)
    read = read_source(source, file_format=options.file_format, place=options.place)
    layout = choose_layout(
        options.layout, model=options.model, tensors=read.tensors, file=str(read.path)
    )
    facts = _facts(layout, read)
    facts = dataclasses.replace(facts, student=_student(facts, options))
    num_classes = options.num_classes or facts.num_classes
    image_size = options.image_size or facts.image_size
    if num_classes is None:
        raise InputError(
            f"`num_classes` is missing: {read.path} has no class head to infer it from"
        )
    if image_size is None:
        raise InputError(f"`image_size` is missing: {read.path} is not of square images")
    labels = read_label_names(options.labels, num_classes=num_classes)
    mean, std = _statistics(layout, options, num_classes=num_classes, channels=facts.channels)
    model_options = {**layout.options, **options.options}
    create = models.create_student if facts.student else models.create
    model = create(
        options.model,
        input_shape=(image_size, image_size, facts.channels),
        num_classes=num_classes,
        mean=mean,
        std=std,
        **facts.student,
        **model_options,
    )
    report = load_weights(model, read.tensors, layout=layout)
    _check(report, model, read, options)
    write_run(
        run,
        model=model,
        config=_config(options, facts, image_size=image_size, model_options=model_options),
        label_names=labels,
        origin=_origin(read, layout, report, mean=mean, std=std),
    )
    return Conversion(run, layout, report, read, facts.notes)


def _facts(layout: Layout, read: SourceWeights) -> Facts:
    try:
        return layout.facts(read.tensors, read.script)
    except InputError:
        raise
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"source={read.path} does not have the arrays of layout={layout.name}: {error}"
        ) from error


def _student(facts: Facts, options: ConvertOptions) -> Mapping[str, Any]:
    if options.site is None:
        return facts.student
    if not facts.student:
        raise InputError(f"site={options.site}: the file has no student with tokens")
    return {"teacher_sites": [options.site], "propagate_tokens": options.site == "both"}


def _statistics(
    layout: Layout, options: ConvertOptions, *, num_classes: int, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    known = layout.statistics(num_classes) or (None, None)
    mean, std = options.mean or known[0], options.std or known[1]
    for name, values in (("mean", mean), ("std", std)):
        if not values:
            raise InputError(
                f"`{name}` is missing: the normalisation of {layout.source} for {num_classes} "
                "classes is not known; give `mean` and `std`, for pixels between 0 and 1"
            )
        if len(values) not in (1, channels):
            raise InputError(
                f"{name}={','.join(map(str, values))}: the model takes images of {channels} "
                "channel(s); give one number, or one per channel"
            )
    assert mean
    assert std
    return _broadcast(mean, channels), _broadcast(std, channels)


def _broadcast(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values * channels if len(values) == 1 else values


def _check(
    report: LoadReport, model: keras.Model, read: SourceWeights, options: ConvertOptions
) -> None:
    for weight in model.weights:
        if not np.all(np.isfinite(weight.numpy())):
            raise InputError(f"source={read.path} has non-finite values for {weight.path}")
    if not report.loaded:
        raise PartialLoadError(f"source={read.path} has nothing for {model.name}", report)
    if report.complete or options.allow_partial:
        return
    parts = []
    if report.missing:
        path, why = next(iter(report.missing.items()))
        parts.append(f"{len(report.missing)} weight(s) missing, such as {path} ({why})")
    if report.unused:
        parts.append(f"{len(report.unused)} array(s) unused, such as {report.unused[0]}")
    raise PartialLoadError(
        f"source={read.path} does not fit {options.model}: {' and '.join(parts)}; correct the "
        "model's options, or use `allow_partial` to initialize missing weights",
        report,
    )


def _config(
    options: ConvertOptions, facts: Facts, *, image_size: int, model_options: Mapping[str, Any]
) -> TrainConfig:
    """The flags that describe the model; those of training keep their defaults."""
    known = config_options()
    values: dict[str, Any] = {k: v for k, v in model_options.items() if k in known}
    if facts.student:
        # No file records the teacher's path.
        values["distillation"] = "hard"
        values["teacher"] = tuple(f"unknown,site={s}" for s in facts.student["teacher_sites"])
        values["propagate_tokens"] = facts.student["propagate_tokens"]
    return TrainConfig(
        model=options.model, dataset=options.dataset, image_size=image_size, **values
    )


def _origin(
    read: SourceWeights,
    layout: Layout,
    report: LoadReport,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> dict[str, Any]:
    return {
        "kind": "converted",
        "file": read.path.name,
        "sha256": read.sha256,
        "format": read.file_format,
        "place": read.place,
        "layout": layout.name,
        "code": layout.source,
        "mean": list(mean),
        "std": list(std),
        "loaded": len(report.loaded),
        "missing": dict(report.missing),
        "unused": list(report.unused),
        "unneeded": dict(report.unneeded),
    }
