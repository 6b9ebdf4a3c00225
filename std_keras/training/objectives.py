"""What the option `objective` selects: the task to train, and the model that it needs, if special.

The tasks of side roads are found by import path, so that training does not depend on them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import keras

from std_keras.config.distillation import DistillationOptions
from std_keras.config.mine import MineOptions
from std_keras.teachers import Teacher
from std_keras.teachers.predictions import PredictionFormat
from std_keras.training.information import InformationTerm
from std_keras.training.state import TrainState
from std_keras.training.task import DistillationTask

_TASKS = {
    "standard": "std_keras.training.task:DistillationTask",
    "class_head": "std_keras.training.task:DistillationTask",
    "skeptical": "std_keras.research.undistillable.tasks:SkepticalTask",
    "nasty": "std_keras.research.undistillable.tasks:NastyTask",
}
# Objectives whose model is neither a plain one nor a student.
_MODELS = {"skeptical": "std_keras.research.undistillable.skeptical_student:create_as_named"}


def create_task(
    options: DistillationOptions,
    mine: MineOptions,
    state: TrainState,
    *,
    prediction_format: PredictionFormat,
    teachers: Sequence[Teacher] = (),
    class_weights: Sequence[float] = (),
    label_smoothing: float = 0.0,
) -> DistillationTask:
    """The task that a configuration names.

    Args:
        options: which teachers are followed, and how.
        mine: the information term; it is part of the task if its schedule is `step`.
        state: the model, whose heads follow the teachers, and the critics.
        prediction_format: how batches hold the teachers' predictions.
        teachers: in the order of the options; none if every batch brings their predictions.
        class_weights: see `DistillationTask`.
        label_smoothing: of the batches' targets.
    """
    kind: type[DistillationTask] = _imported(_TASKS[options.objective])
    return kind(
        **kind.settings(options, state.model),
        teachers=teachers,
        prediction_format=prediction_format,
        class_weights=tuple(class_weights),
        label_smoothing=label_smoothing,
        information=InformationTerm.of(state, mine) if mine.schedule == "step" else None,
    )


def own_model(objective: str) -> Callable[..., keras.Model] | None:
    """The function that creates an objective's model, called like `models.create` with
    `options=DistillationOptions`; None if it needs no special model."""
    return _imported(_MODELS[objective]) if objective in _MODELS else None


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
