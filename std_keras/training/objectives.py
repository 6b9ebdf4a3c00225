"""The objective that a configuration names, for its model."""

from __future__ import annotations

from typing import Any

import keras

from std_keras import models
from std_keras.config import TrainConfig
from std_keras.research.undistillable.objectives import NastyObjective, SkepticalObjective
from std_keras.training.objective import Objective


def create_objective(config: TrainConfig, model: keras.Model) -> Objective:
    """What is minimised; see the flag --objective."""
    if config.distillation.objective == "nasty":
        return NastyObjective(
            weight=config.distillation.nasty_weight,
            temperature=config.distillation.nasty_temperature,
        )
    if config.distillation.kind == "none":
        return Objective()
    options: dict[str, Any] = {
        "kind": config.distillation.kind,
        "alpha": config.distillation.alpha,
        "temperature": config.distillation.temperature,
        "confidence": config.distillation.confidence,
        "confidence_scope": config.distillation.confidence_scope,
    }
    count = len(config.distillation.teachers)
    if config.distillation.objective == "class_head":
        return Objective(teacher_heads=(("classification",),) * count, **options)
    if config.distillation.objective == "skeptical":
        auxiliaries = models.auxiliary_names(model)
        taught, deepest = auxiliaries[0], auxiliaries[-1]
        return SkepticalObjective(
            teacher_heads=((taught,),) * count, taught=taught, deepest=deepest, **options
        )
    names = models.head_names(model)[1:]
    heads = tuple(
        tuple(n for n in names if n.startswith(f"distillation_{index}_")) for index in range(count)
    )
    return Objective(teacher_heads=heads, **options)
