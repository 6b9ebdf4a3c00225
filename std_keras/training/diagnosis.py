"""What stopped a run whose numbers became non-finite: the message, and the batch that is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from std_keras import teachers
from std_keras.config.distillation import DistillationOptions
from std_keras.errors import NonFiniteError
from std_keras.training import feed
from std_keras.training.assembly import Training


def check_finite(
    metrics: Mapping[str, float], *, training: Training, step: int, in_step: bool = True
) -> None:
    """Checks the metrics of a step; call it before a checkpoint is saved.

    Args:
        metrics: by name, of step `step`.
        training: the run.
        step: steps done.
        in_step: whether they are of a training step, whose batch is then kept.

    Raises:
        NonFiniteError: if one is NaN or infinite.
    """
    names = [name for name, value in metrics.items() if not math.isfinite(value)]
    if not names:
        return
    saved = f"{_save_batch(training, step)}; " if in_step else ""
    advice = (
        _broken_teachers(names, training.config.distillation)
        or "try a smaller `learning_rate` or clip_norm=1"
    )
    raise NonFiniteError(
        f"{', '.join(names)} became non-finite at step {step}; the last good checkpoint is "
        f"{training.checkpoints.latest or 'none'}; {saved}{advice}"
    )


def _broken_teachers(names: Sequence[str], options: DistillationOptions) -> str:
    """Which teachers are the cause, and what to do; empty if none is."""
    broken = []
    for index, description in enumerate(options.teachers):
        if f"teacher_{index}/entropy" in names:
            source = teachers.parse(description).name
            broken.append(f"teacher={source} returned non-finite values")
    if not broken:
        return ""
    return f"{' and '.join(broken)}; fix or remove the teacher, or the images it fails on"


def _save_batch(training: Training, step: int) -> str:
    """Saves the batch of the non-finite step, and tells how to replay it."""
    if not training.chief:
        return "the chief saved its batch"
    batch = feed.one_batch(
        training.config, training.dataset, step=step - 1, view_sizes=training.larger_views
    )
    file = training.run.nonfinite_batch_file(step)
    try:
        with open(file, "wb") as opened:
            np.savez(opened, **{name: value.numpy() for name, value in batch.items()})
    except OSError as error:
        return f"its batch could not be saved ({error})"
    return (
        f"its batch is in {file}; `std-keras replay --model_dir={training.run.path}` shows what "
        "broke"
    )
