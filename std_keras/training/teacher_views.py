"""What each teacher sees of a picture: the student's pixels, or more of them.

A teacher whose input is larger than the student's images gets the same part of each picture at its
own size, as far as the pictures have the pixels for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from std_keras import progress, teachers
from std_keras.config import TrainConfig
from std_keras.data import DataSet
from std_keras.data.arrays import ArraySource
from std_keras.runs.run_directory import RunDirectory
from std_keras.teachers import TeacherSpec


def view_size(spec: TeacherSpec, dataset: DataSet) -> int:
    """The side of what a teacher sees: of its input, but at most that of the pictures, and at
    least that of the student's images, which its input is made from otherwise."""
    height, width, _ = dataset.image_shape
    if height != width or dataset.picture_side <= height:
        return height
    wanted = teachers.input_size(spec) or height
    return max(height, min(wanted, dataset.picture_side))


def view_sizes(
    config: TrainConfig, dataset: DataSet, *, run: RunDirectory | None = None
) -> tuple[int, ...]:
    """What each teacher that a configuration follows sees.

    Args:
        config: names the teachers.
        dataset: the pictures.
        run: its run directory. A run that was begun goes on with the views that it began with,
            whatever the pictures have become; runs of older versions with the student's.
    """
    if not config.distillation.uses_teachers:
        return ()
    descriptions = config.distillation.teachers
    if run is not None and run.exists():
        recorded = (run.read_examples() or {}).get("teacher_views")
        return tuple(recorded or [dataset.image_shape[0]] * len(descriptions))
    return tuple(view_size(teachers.parse(text), dataset) for text in descriptions)


def larger(sizes: Sequence[int], dataset: DataSet) -> tuple[int, ...]:
    """The sizes, each once, of views that are not the student's images."""
    return tuple(sorted({*sizes} - {dataset.image_shape[0]}))


def describe(config: TrainConfig, dataset: DataSet, sizes: Sequence[int]) -> list[str]:
    """A line for each teacher that sees more than the student."""
    own = dataset.image_shape[0]
    return [
        f"teacher {teachers.parse(text).name} sees {size}x{size} pixels of the same crop, the "
        f"student {own}x{own}"
        for text, size in zip(config.distillation.teachers, sizes, strict=False)
        if size != own
    ]


def hold(
    config: TrainConfig,
    dataset: DataSet,
    sizes: Sequence[int],
    *,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Decodes the larger views of train once, if they fit into memory with all that is there.

    Args:
        config: says how much is to be held.
        dataset: whose train part is prepared.
        sizes: from `larger`.
        stop: asked between batches.

    Raises:
        Interrupted: because `stop()` was true.
    """
    source = dataset.train
    if not sizes or not isinstance(source, ArraySource):
        return
    parts = [dataset.train, dataset.validation, dataset.test]
    held = sum(part.bytes for part in parts if isinstance(part, ArraySource))
    views = source.size * sum(size**2 for size in sizes) * dataset.image_shape[-1]
    named = " and ".join(f"{size}x{size}" for size in sizes)
    what = f"the teachers' views of {source.size:,} images at {named}"
    if held + views <= config.data.cache_gb * 2**30:
        progress.say(f"data: {what} are held in memory ({views / 2**20:,.1f} MiB)")
        source.hold(sizes, progress=progress.stoppable(stop))
    else:
        progress.say(
            f"data: {what} are decoded again and again; cache_gb={(held + views) / 2**30:.2g} "
            "would hold them in memory"
        )
