"""Checks that options agree with each other."""

from __future__ import annotations

import dataclasses

from std_keras.config.distillation import DistillationOptions
from std_keras.config.mine import MineOptions
from std_keras.config.optimization import OptimizationOptions
from std_keras.errors import InputError

_OF_TOKEN_SETS = ("tokens", "token_mlps", "propagate_tokens")


def check_agreement(
    *,
    distillation: DistillationOptions,
    mine: MineOptions,
    optimization: OptimizationOptions,
) -> None:
    """Raises an InputError that names the conflicting options."""
    _check_optimization(optimization)
    if distillation.kind != "none" and not distillation.teachers:
        raise InputError(
            f"distillation={distillation.kind} needs a teacher; name at least one with teacher=..."
        )
    _check_mine(mine, distillation)
    _check_objective(distillation)
    if distillation.teacher_cache_mode == "read" and distillation.teacher_cache is None:
        raise InputError("teacher_cache_mode=read needs a folder; name it with teacher_cache=...")
    top_k = distillation.teacher_cache_top_k
    if top_k and (distillation.teacher_cache is None or distillation.kind == "hard"):
        raise InputError(
            f"teacher_cache_top_k={top_k} needs distillation=soft and a `teacher_cache`; leave "
            "it out"
        )


def _check_optimization(options: OptimizationOptions) -> None:
    if options.minimum_learning_rate > options.learning_rate:
        raise InputError(
            f"minimum_learning_rate={options.minimum_learning_rate} is above "
            f"learning_rate={options.learning_rate}; the cosine schedule must decrease"
        )
    if options.warmup_epochs and options.warmup_epochs >= options.epochs:
        raise InputError(
            f"warmup_epochs={options.warmup_epochs} must be less than epochs={options.epochs}"
        )
    if options.batch_size % options.accumulation_steps:
        raise InputError(
            f"batch_size={options.batch_size} is not divisible by "
            f"accumulation_steps={options.accumulation_steps}"
        )


def _check_mine(mine: MineOptions, distillation: DistillationOptions) -> None:
    if mine.weight and distillation.kind != "none" and distillation.tokens != "both":
        raise InputError(
            f"mine_weight={mine.weight} needs spatial and channel tokens, but "
            f"tokens={distillation.tokens}; use tokens=both or mine_weight=0"
        )
    if mine.weight and not distillation.has_student_heads:
        without = (
            "distillation=none"
            if distillation.kind == "none"
            else f"objective={distillation.objective}"
        )
        raise InputError(
            f"mine_weight={mine.weight} needs token sets, and {without} has none; use mine_weight=0"
        )


def _check_objective(options: DistillationOptions) -> None:
    if options.objective == "standard":
        return
    if options.objective == "nasty" and options.kind != "none":
        raise InputError(
            f"objective=nasty moves away from its teacher instead of following it, so "
            f"distillation={options.kind} does not apply; use distillation=none"
        )
    if options.objective == "nasty" and len(options.teachers) != 1:
        raise InputError(
            f"objective=nasty needs exactly one teacher to move away from, got "
            f"{len(options.teachers)}; name it with teacher=RUN"
        )
    if options.objective in ("class_head", "skeptical") and options.kind == "none":
        raise InputError(
            f"objective={options.objective} needs a teacher to follow, but distillation=none "
            "uses none; use distillation=soft or hard"
        )
    default = {field.name: field.default for field in dataclasses.fields(options)}
    for name in _OF_TOKEN_SETS:
        value = getattr(options, name)
        if value != default[name]:
            raise InputError(
                f"{name}={value} does not apply: objective={options.objective} has no token sets; "
                "leave it out"
            )
