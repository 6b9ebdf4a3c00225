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
    checkpoint_every_steps: int = option_field(
        0,
        int,
        "Steps between checkpoints; 0 for once an epoch.",
        shapes_result=False,
        **NATURAL,
    )
    keep_checkpoints: int = option_field(2, int, "Checkpoints kept.", shapes_result=False, **COUNT)
    save_failures_allowed: int = option_field(
        0,
        int,
        "How many checkpoints in a row may fail to be written, for example because the disk is "
        "full, before the run stops with exit code 5.",
        shapes_result=False,
        **NATURAL,
    )
    data_stall_seconds: float = option_field(
        60.0,
        float,
        "Seconds that a step waits for data until a warning says so; 0 for never.",
        shapes_result=False,
        **NATURAL,
    )
    log_every_steps: int = option_field(
        50, int, "Steps between logged training figures.", shapes_result=False, **COUNT
    )
    profile_steps: int = option_field(
        0,
        int,
        "Steps to record with the TensorBoard profiler, from the 20th step of this process on.",
        shapes_result=False,
        **NATURAL,
    )
