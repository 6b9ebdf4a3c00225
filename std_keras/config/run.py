"""When a run logs, evaluates and saves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from std_keras.config.option import (
    COUNT,
    NATURAL,
    RUN,
    OptionGroup,
    option_field,
)


@dataclass(frozen=True, kw_only=True)
class RunOptions(OptionGroup):
    """When a run logs, evaluates and saves; `--help` explains each field."""

    topic: ClassVar[str] = RUN

    evaluate_every_epochs: int = option_field(
        1, int, "Epochs between evaluations.", shapes_result=False, **COUNT
    )
    best_by: str = option_field(
        "top1",
        str,
        "What makes a model the best on the held-out part: top1, or balanced_accuracy, in which "
        "small classes count as much as large ones.",
        choices=("top1", "balanced_accuracy"),
    )
    checkpoint_every_steps: int = option_field(
        0,
        int,
        "Steps between checkpoints; 0 for once an epoch.",
        shapes_result=False,
        **NATURAL,
    )
    keep_checkpoints: int = option_field(
        2, int, "Number of checkpoints to keep.", shapes_result=False, **COUNT
    )
    save_failures_allowed: int = option_field(
        0,
        int,
        "Consecutive checkpoints that may fail to be written, for example on a full disk, before "
        "the run stops with exit code 5.",
        shapes_result=False,
        **NATURAL,
    )
    data_stall_seconds: float = option_field(
        60.0,
        float,
        "Warn when a step waits longer than this many seconds for data; 0 for never.",
        shapes_result=False,
        **NATURAL,
    )
    log_every_steps: int = option_field(
        50,
        int,
        "Steps between logged training metrics; an epoch if that is shorter.",
        shapes_result=False,
        **COUNT,
    )
    profile_steps: int = option_field(
        0,
        int,
        "Steps to record with the TensorBoard profiler, starting at the 20th step of this process; "
        "0 for none.",
        shapes_result=False,
        **NATURAL,
    )
