"""Flags that contradict each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from std_keras.errors import InputError

if TYPE_CHECKING:
    from std_keras.config import TrainConfig


def check_agreement(config: TrainConfig) -> None:
    """Raises an InputError that names the flags which cannot be meant together."""
    c = config
    if c.distillation != "none" and not c.teacher:
        raise InputError(
            f"--distillation={c.distillation} needs a teacher; name at least one with --teacher=..."
        )
    if c.minimum_learning_rate > c.learning_rate:
        raise InputError(
            f"--minimum_learning_rate={c.minimum_learning_rate} is above "
            f"--learning_rate={c.learning_rate}; the cosine must go down"
        )
    if c.warmup_epochs and c.warmup_epochs >= c.epochs:
        raise InputError(
            f"--warmup_epochs={c.warmup_epochs} leaves nothing of --epochs={c.epochs}; "
            "give fewer, or 0"
        )
    if c.mine_weight and c.distillation != "none" and c.tokens != "both":
        raise InputError(
            f"--mine_weight={c.mine_weight} needs spatial and channel tokens, but "
            f"--tokens={c.tokens}; use --tokens=both or --mine_weight=0"
        )
    if c.mine_weight and not c.has_student_heads:
        without = "distillation=none" if c.distillation == "none" else f"objective={c.objective}"
        raise InputError(
            f"--mine_weight={c.mine_weight} needs token sets, and --{without} has none; "
            "use --mine_weight=0"
        )
    _check_objective(c)
    if c.teacher_cache_mode == "read" and c.teacher_cache is None:
        raise InputError("--teacher_cache_mode=read needs a folder; name it with --teacher_cache")
    if c.teacher_cache_top_k and (c.teacher_cache is None or c.distillation == "hard"):
        raise InputError(
            f"--teacher_cache_top_k={c.teacher_cache_top_k} is for --distillation=soft with a "
            "--teacher_cache; leave it out"
        )
    if c.batch_size % c.accumulation_steps:
        raise InputError(
            f"--batch_size={c.batch_size} is not divisible by "
            f"--accumulation_steps={c.accumulation_steps}"
        )


def _check_objective(config: TrainConfig) -> None:
    c = config
    if c.objective == "standard":
        return
    if c.objective == "nasty" and c.distillation != "none":
        raise InputError(
            f"--objective=nasty moves away from --teacher and does not follow it, so "
            f"--distillation={c.distillation} does not apply; use --distillation=none"
        )
    if c.objective == "nasty" and len(c.teacher) != 1:
        raise InputError(
            f"--objective=nasty needs one trained model to move away from, and {len(c.teacher)} "
            "are named; name it with --teacher=RUN"
        )
    if c.objective in ("class_head", "skeptical") and c.distillation == "none":
        raise InputError(
            f"--objective={c.objective} is about a teacher that is followed, which "
            "--distillation=none is not; use --distillation=soft or hard"
        )
    for name in ("tokens", "token_mlps", "propagate_tokens"):
        value = getattr(c, name)
        if value != getattr(type(c), name):
            raise InputError(
                f"--{name}={value}: --objective={c.objective} has no token sets; leave it out"
            )
