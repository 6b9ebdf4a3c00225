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
from std_keras.models.weight_count import UnexplainedWeightsError, explained_weights
from std_keras.runs.origin import keep_license
from std_keras.runs.run_directory import RunDirectory
from std_keras.weights import hub, timm_config
from std_keras.weights.architecture import Architecture, find_architecture
from std_keras.weights.class_names import ClassNames, find_class_names
from std_keras.weights.drawn import drawn_alike
from std_keras.weights.layout import Facts, Layout
from std_keras.weights.load import LoadReport, load_weights, log_report
from std_keras.weights.run import check_output, write_run
from std_keras.weights.source import SourceWeights, read_source


@dataclass(frozen=True)
class ConvertOptions:
    """What a file is to become.

    Attributes:
        model: registered name of the model; None for the one whose sizes the file has.
        layout: the code base that the file is from, or "auto".
        file_format: "torch", "safetensors", "npz" or "auto".
        place: keys of a PyTorch file that lead to the weights, joined by "/"; None to find them.
        image_size: side of the images in pixels; None for what the weights need.
        num_classes: of the class head; None for the file's.
        options: of the model, as `std_keras.models.create` takes them; they override what the
            layout needs for equal outputs.
        mean: per channel, of pixels in 0..1; None for what the weights were trained with.
        std: standard deviation, in the same form.
        site: of a student's teacher, "last" or "both"; None for what the file says.
        labels: file of class names; None for those that the source or the data set has.
        dataset: the data set that evaluate takes by default; "" for none.
        data_dir: where TFDS keeps its prepared data sets.
        crop_ratio: part of a test picture's short side that is looked at.
        license: of the weights, such as "apache-2.0"; None for what the source states.
        allow_partial: whether weights may be left new, and arrays unused.
    """

    model: str | None = None
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
    data_dir: str | Path | None = None
    crop_ratio: float | None = None
    license: str | None = None
    allow_partial: bool = False


@dataclass(frozen=True)
class Conversion:
    """What was made.

    Attributes:
        run: the run directory.
        layout: the layout that the file had.
        architecture: the model's name, and what differs from it, in words.
        report: what was loaded.
        source: the file.
        mean: per channel, of pixels in 0..1, that the model subtracts.
        std: standard deviation that it divides by.
        labels: the class names, and where they are from.
        crop_ratio: part of a test picture's short side that evaluate looks at; None for all.
        license: of the weights, as the user or the source states it; None if neither does.
        name: of the repository on the hub, or of the folder; None for a file.
        commit: the repository's revision.
        notes: sentences that the user should read.
    """

    run: RunDirectory
    layout: Layout
    architecture: str
    report: LoadReport
    source: SourceWeights
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: ClassNames
    crop_ratio: float | None = None
    license: str | None = None
    name: str | None = None
    commit: str | None = None
    notes: tuple[str, ...] = ()


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
    output: str | Path,
    model: str | None = None,
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
    data_dir: str | Path | None = None,
    eval_crop_ratio: float | None = None,
    license: str | None = None,
    allow_partial: bool = False,
    **model_options: Any,
) -> Conversion:
    """Converts weights of another code base to a run directory; no code in the file is executed.

    What was loaded, and what was not, is logged. Weights that the file does not have are drawn
    anew, from one seed.

    Args:
        source: a PyTorch file (.pth, .pt, .th), a .safetensors file or the index of several, an
            .npz file, `hf-hub:ORG/NAME[@REVISION]` of a timm model, or a folder with its files.
        output: the run directory, which must not exist or be empty.
        model: registered name of the model; None for the one whose sizes the file has.
        layout: the code base whose names the file has; "auto" tells it by the names.
        format: "torch", "safetensors", "npz", or "auto", which looks at the content.
        place: keys that lead to the weights in a PyTorch file that holds several, joined by "/".
        image_size: side of the images in pixels; None for what the weights need.
        num_classes: of the class head; None for the file's.
        mean: what is subtracted from pixels of 0..1, one number or one per channel; None for what
            the repository says, or what the code base trains with.
        std: standard deviation to divide by, in the same form.
        site: where a student of the PyTorch reproduction was distilled, "last" or "both"; None for
            what the file says.
        labels: file of class names, one a line; None for those of the repository, or of `dataset`,
            or numbers.
        dataset: the data set that evaluate and export take if none is given; "" for none.
        data_dir: where TFDS keeps its prepared data sets; evaluate and export look there too.
        eval_crop_ratio: part of a test picture's short side that evaluate looks at; None for what
            the repository says, or all of it.
        license: of the weights, such as "apache-2.0"; None for what the repository states.
        allow_partial: whether weights may be left new, and arrays unused.
        **model_options: of the model, such as `patch_size`, as `std_keras.models.create` takes
            them; what the shapes of the file tell need not be given.

    Raises:
        InputError: if the source cannot be read, or does not fit the model.
        PartialLoadError: if it fits in part.
    """
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
        data_dir=data_dir,
        crop_ratio=eval_crop_ratio,
        license=license,
        allow_partial=allow_partial,
    )
    try:
        done = convert_weights(source, output=output, options=options)
    except PartialLoadError as error:
        log_report(error.report)
        raise
    for line in said(done):
        progress.say(line)
    log_report(done.report)
    progress.say(f"{len(done.report.loaded)} weights loaded; {done.run.path}")
    return done


def said(done: Conversion) -> list[str]:
    """What a conversion found and took, in lines for the user."""
    found = done.source
    within = f" under {found.place!r}" if found.place else ""
    lines = [f"{found.path}: {found.file_format}{within}, {done.layout.source}"]
    if found.metadata:
        # Not NAME=VALUE, which the program would write as a flag of its own: licence, format.
        about = ", ".join(f"{name}: {value}" for name, value in sorted(found.metadata.items()))
        lines.append(f"the file says of itself: {about[:500]}")
    size = done.run.read_config().data.image_size
    crop = "" if done.crop_ratio in (None, 1.0) else f", of which {done.crop_ratio:g} is looked at"
    mean, std = (", ".join(f"{v:g}" for v in values) for values in (done.mean, done.std))
    lines += [
        f"model: {done.architecture}",
        f"images: {size} x {size} pixels{crop}; mean {mean}, standard deviation {std}",
        f"classes: {len(done.labels.names)}, {done.labels.source}",
        f"licence: {done.license or 'not stated; pack will ask for it'}",
    ]
    for other in found.others:
        lines.append(f"the file has other weights under {other!r}; use them with place={other}")
    return [*lines, *done.notes]


def convert_weights(
    source: str | Path, *, output: str | Path, options: ConvertOptions
) -> Conversion:
    """Reads weights of another code base and writes a run directory with their model.

    Args:
        source: see `convert`.
        output: the run directory, which must not exist or be empty.
        options: what it is to become.

    Raises:
        InputError: if the source cannot be read, or does not fit the model.
        PartialLoadError: if it fits in part.
    """
    if options.model is not None:  # An unknown name is refused before anything is read.
        models.registry.resolve(options.model, **options.options)
    for name in ("image_size", "num_classes"):
        if (given := getattr(options, name)) is not None and given < 1:
            raise InputError(f"{name}={given} must be at least 1")
    run = check_output(output)
    repository = hub.find(source)
    described = _described(repository)
    if described is not None:
        options = _with_described(options, described)
    path = source if repository is None else _weights_of(repository)
    read = read_source(path, file_format=options.file_format, place=options.place)
    # An array without numbers has a shape all the same, and that of a model could be any.
    filled = {name: array for name, array in read.tensors.items() if array.size}
    read = dataclasses.replace(read, tensors=filled)
    found = find_architecture(
        read,
        model=options.model,
        layout=options.layout,
        family="" if described is None else described.family,
        given=options.options,
        partial=options.allow_partial,
    )
    facts = dataclasses.replace(found.facts, student=_student(found.facts, options))
    num_classes = options.num_classes or facts.num_classes
    image_size = options.image_size or facts.image_size
    if num_classes is None:
        raise InputError(
            f"`num_classes` is missing: {read.path} has no class head to infer it from"
        )
    if image_size is None:
        raise InputError(f"`image_size` is missing: {read.path} is not of square images")
    labels = find_class_names(
        labels=options.labels,
        described=None if described is None else described.labels,
        imagenet=described is not None and _is_imagenet(repository),
        dataset=options.dataset,
        data_dir=options.data_dir,
        num_classes=num_classes,
    )
    mean, std = _statistics(found.layout, options, num_classes=num_classes, channels=facts.channels)
    model_options = {**found.layout.options, **found.options, **options.options}
    if described is not None and described.heads and found.model.startswith("deit_"):
        # The one size that no shape of a transformer's weights tells.
        model_options.setdefault("head_dim", facts.options["width"] // described.heads)

    stored = sum(array.size for array in read.tensors.values())
    create = models.create_student if facts.student else models.create
    try:
        with explained_weights(stored), drawn_alike():  # Weights that the file does not have.
            model = create(
                found.model,
                input_shape=(image_size, image_size, facts.channels),
                num_classes=num_classes,
                mean=mean,
                std=std,
                **facts.student,
                **model_options,
            )
    except UnexplainedWeightsError as error:
        raise InputError(f"source={read.path} {error}") from error
    report = load_weights(model, read.tensors, layout=found.layout)
    _check(report, model, read, found.model, options)
    config = _config(options, found, facts, image_size=image_size, model_options=model_options)
    done = Conversion(
        run=run,
        layout=found.layout,
        architecture=str(found),
        report=report,
        source=read,
        mean=mean,
        std=std,
        labels=labels,
        crop_ratio=config.augmentation.eval_crop_ratio,
        license=options.license or (None if repository is None else repository.license),
        name=None if repository is None else repository.name,
        commit=None if repository is None else repository.commit,
        notes=(*facts.notes, *(() if described is None else described.notes)),
    )
    write_run(run, model=model, config=config, label_names=labels.names, origin=origin_of(done))
    if repository is not None:
        keep_license(repository.path, run.path)
    return done


def _described(repository: hub.Repository | None) -> timm_config.TimmModel | None:
    if repository is None:
        return None
    if repository.is_run:
        raise InputError(
            f"source={repository.name} is a run of std_keras, which needs no conversion; use its "
            "name wherever a run directory is taken"
        )
    return timm_config.read(repository.config, named=f"source={repository.name}")


def _weights_of(repository: hub.Repository) -> Path:
    assert repository.weights is not None
    return repository.weights


def _with_described(options: ConvertOptions, described: timm_config.TimmModel) -> ConvertOptions:
    """The user's options, and what the repository says where they are silent."""
    if options.model is not None and not options.model.startswith(described.family):
        raise InputError(
            f"model={options.model} contradicts `source`, which is a {described.architecture}; "
            "leave `model` out"
        )
    if described.num_classes == 0:
        raise InputError(
            f"`source` is a {described.architecture} without classes, a network for features; a "
            "classifier is needed"
        )
    return dataclasses.replace(
        options,
        image_size=options.image_size or described.image_size,
        mean=options.mean or described.mean,
        std=options.std or described.std,
        crop_ratio=options.crop_ratio or described.crop_ratio,
    )


def _is_imagenet(repository: hub.Repository | None) -> bool:
    """Whether 1000 classes are those of ImageNet-1k, in the order that timm has them."""
    if repository is None:
        return False
    about = repository.config.get("pretrained_cfg") or repository.config
    return repository.name.startswith(f"{hub.PREFIX}timm/") or "in1k" in str(about.get("tag"))


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
    report: LoadReport,
    model: keras.Model,
    read: SourceWeights,
    name: str,
    options: ConvertOptions,
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
        f"source={read.path} does not fit {name}: {' and '.join(parts)}; correct the "
        "model's options, or use `allow_partial` to initialize missing weights",
        report,
    )


def _config(
    options: ConvertOptions,
    found: Architecture,
    facts: Facts,
    *,
    image_size: int,
    model_options: Mapping[str, Any],
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
        model=found.model,
        dataset=options.dataset,
        data_dir=None if options.data_dir is None else str(options.data_dir),
        image_size=image_size,
        eval_crop_ratio=options.crop_ratio,
        **values,
    )


def origin_of(done: Conversion) -> dict[str, Any]:
    """Where converted weights are from, as `result.json` keeps it."""
    read, report = done.source, done.report
    return {
        "kind": "converted",
        "source": done.name or read.path.name,
        "commit": done.commit,
        "file": read.path.name,
        "sha256": read.sha256,
        **({"parts": dict(read.parts)} if read.parts else {}),
        "format": read.file_format,
        "place": read.place,
        "layout": done.layout.name,
        "code": done.layout.source,
        "license": done.license,
        "labels": done.labels.source,
        "mean": list(done.mean),
        "std": list(done.std),
        "loaded": len(report.loaded),
        "missing": dict(report.missing),
        "unused": list(report.unused),
        "unneeded": dict(report.unneeded),
    }
