"""`std_keras.check_teacher`: tries teachers on images with labels before anything is trained."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from std_keras import progress, quiet
from std_keras.config import TrainConfig
from std_keras.errors import InputError, Interrupted, MachineError
from std_keras.files.output_folder import check_output_file
from std_keras.files.paths import user_path
from std_keras.runs.run import Run

if TYPE_CHECKING:
    from std_keras.data import DataSet, Source
    from std_keras.teachers import Teacher
    from std_keras.teachers.checkup import CheckUp, Sample
    from std_keras.teachers.spec import TeacherSpec


def check_teacher(
    config: TrainConfig,
    *,
    examples: int = 1000,
    baseline: float | str | os.PathLike[str] | Run | None = None,
    labels_output: str | os.PathLike[str] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[CheckUp]:
    """Says what the teachers of a configuration are worth, and what is wrong with them.

    Accuracy and entropy on held-out and on training images (not augmented), speed, memory, and
    warnings: another order of classes, another range of pixels, predictions that are the labels
    again, a teacher that is worse than its student.

    Args:
        config: names the data and the teachers; options of the student are not used.
        examples: of each part, at equal distances; 0 for all.
        baseline: top-1 of the student without a teacher, as a fraction, or its run.
        labels_output: a file for the class names in the order of a teacher's outputs, where another
            order than the data set's fits far better.
        stop: asked between batches; once true, the check ends.

    Returns:
        What was found, one for each teacher.

    Raises:
        InputError: if the data, a teacher or `labels_output` cannot be used.
        MachineError: if `labels_output` cannot be written.
        Interrupted: because `stop()` was true.
    """
    if not config.distillation.teachers:
        raise InputError("`teacher` is missing; name the teacher to check")
    if examples < 0:
        raise InputError(f"examples={examples} must be at least 0")
    least = _baseline(baseline)
    if labels_output is not None:
        check_output_file(user_path(labels_output), name="labels_output")
    quiet.ensure_tensorflow()
    from std_keras.config import resolve
    from std_keras.teachers import parse
    from std_keras.teachers.checkup import check
    from std_keras.training import build, teacher_views

    specs = [parse(description) for description in config.distillation.teachers]
    dataset = build.load_data(config, progress=progress.stoppable(stop))
    config = resolve(
        config, image_size=dataset.image_shape[0], horizontal_flip=dataset.horizontal_flip
    )
    sizes = [teacher_views.view_size(spec, dataset) for spec in specs]
    held_out, train = samples(
        dataset, examples, view_sizes=teacher_views.larger(sizes, dataset), stop=stop
    )
    found = []
    for spec, size in zip(specs, sizes, strict=True):
        if stop():
            raise Interrupted("interrupted; teachers were left to check")
        teacher, spec, range_known = _loaded(spec, dataset, view_size=size)
        checked = check(
            teacher.fast(bfloat16=config.performance.mixed_precision),
            spec,
            held_out=held_out,
            train=train,
            label_names=dataset.label_names,
            hard=config.distillation.kind != "soft",
            baseline=least,
            range_known=range_known,
            stop=stop,
        )
        tell(checked)
        found.append(checked)
        if labels_output is not None and checked.class_order is not None:
            _write(user_path(labels_output), checked.class_order)
            progress.say(
                f"the class names in the order of {checked.teacher} are in {labels_output}"
            )
    return found


def check_before_training(
    loaded: Sequence[Teacher],
    config: TrainConfig,
    dataset: DataSet,
    *,
    view_sizes: Sequence[int],
    stop: Callable[[], bool] = lambda: False,
) -> list[CheckUp]:
    """Logs a check-up of the teachers of a run, on few images, before it begins.

    Speed and memory are not among the figures: something else runs beside it.

    Args:
        loaded: the teachers.
        config: of the run.
        dataset: its data.
        view_sizes: from `teacher_views.larger`.
        stop: asked between batches.

    Raises:
        Interrupted: because `stop()` was true.
    """
    options = config.distillation
    if not loaded or not options.teacher_check:
        return []
    from std_keras.teachers import parse
    from std_keras.teachers.checkup import check

    held_out, train = samples(dataset, options.teacher_check, view_sizes=view_sizes, stop=stop)
    found = []
    for teacher, description in zip(loaded, options.teachers, strict=True):
        checked = check(
            teacher,
            parse(description),
            held_out=held_out,
            train=train,
            label_names=dataset.label_names,
            hard=options.kind == "hard",
            stop=stop,
        )
        # TensorFlow works on the first step meanwhile.
        checked = dataclasses.replace(checked, images_per_second=None, memory_mib=None)
        tell(checked)
        found.append(checked)
    return found


def tell(checked: CheckUp) -> None:
    """Logs what was found."""
    progress.say(checked.line())
    for warning in checked.warnings:
        progress.warn(f"teacher {checked.teacher}: {warning}")


def samples(
    dataset: DataSet,
    count: int,
    *,
    view_sizes: Sequence[int],
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Sample, Sample]:
    """At most `count` images (0: all) that teachers were not trained on, and as many of train.

    The first are of the validation part, or of test where there is none: nothing is chosen by them.

    Raises:
        Interrupted: because `stop()`, asked between batches, was true.
    """
    part = "test" if dataset.validation is None else "validation"
    return (
        _sample(part, getattr(dataset, part), count, view_sizes, stop),
        _sample("train", dataset.train, count, view_sizes, stop),
    )


def _sample(
    name: str,
    source: Source,
    count: int,
    view_sizes: Sequence[int],
    stop: Callable[[], bool],
) -> Sample:
    import numpy as np

    from std_keras.data import evaluation_batches
    from std_keras.data.limit import limited_source
    from std_keras.data.source import IndexedSource
    from std_keras.teachers.checkup import Sample

    count = min(count or source.size, source.size)
    if isinstance(source, IndexedSource):  # Else the first ones are as good as any.
        source = limited_source(source, count, flag="examples")
    size = min(64, count)
    batches = evaluation_batches(source, batch_size=size, view_sizes=view_sizes)
    number = -(-count // size)
    read = list(
        progress.stoppable(stop)(
            batches.take(number).as_numpy_iterator(),
            total=number,
            what=f"reading {name} images for the teachers",
        )
    )
    joined = {n: np.concatenate([batch[n] for batch in read])[:count] for n in read[0]}
    labels = joined.pop("labels")
    del joined["weights"]
    return Sample(name, joined, labels)


def _loaded(
    spec: TeacherSpec, dataset: DataSet, *, view_size: int
) -> tuple[Teacher, TeacherSpec, bool]:
    """The teacher, and whether its range of pixels is known; it is guessed if not."""
    from std_keras.teachers.spec import UnknownRangeError
    from std_keras.training import build

    try:
        return build.load_teacher(spec, dataset, view_size=view_size), spec, True
    except UnknownRangeError:
        spec = dataclasses.replace(spec, input="byte")
        return build.load_teacher(spec, dataset, view_size=view_size), spec, False


def _baseline(given: float | str | os.PathLike[str] | Run | None) -> float | None:
    if given is None:
        return None
    text = str(given)
    if re.fullmatch(r"[-+\d.]+(e[-+]?\d+)?", text, re.IGNORECASE):
        if not 0 <= float(text) <= 1:
            raise InputError(f"baseline={given} must be a fraction between 0 and 1, or a run")
        return float(text)
    run = given if isinstance(given, Run) else Run(text)
    if run.result is None:
        raise InputError(
            f"baseline={given} is neither a fraction nor a finished run (it has no result.json)"
        )
    return float(run.result["top1"])


def _write(path: Path, names: Sequence[str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    except OSError as error:
        raise MachineError(
            f"labels_output={path} could not be written: {error.strerror}"
        ) from error
