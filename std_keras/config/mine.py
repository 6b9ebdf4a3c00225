"""The mutual information between spatial and channel tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from std_keras.config.option import (
    MINE,
    NATURAL,
    POSITIVE,
    OptionGroup,
    option_field,
)


@dataclass(frozen=True, kw_only=True)
class MineOptions(OptionGroup):
    """The mutual information between spatial and channel tokens; `--help` explains each field."""

    topic: ClassVar[str] = MINE

    weight: float = option_field(
        0.0,
        float,
        "Weight of the mutual information between spatial and channel tokens; 0 turns MINE off.",
        **NATURAL,
        flag="mine_weight",
    )
    schedule: str = option_field(
        "step",
        str,
        "Minimize the mutual information inside every training step, or once after each epoch.",
        choices=("step", "epoch"),
        flag="mine_schedule",
    )
    samples: int = option_field(
        0,
        int,
        "Examples used by the epoch schedule; 0 for one batch.",
        **NATURAL,
        flag="mine_samples",
    )
    learning_rate: float | None = option_field(
        None,
        float,
        "Learning rate of the critic; if not given, 1e-4 (Adam) for the step schedule and 0.01 "
        "(SGD) for the epoch schedule.",
        **POSITIVE,
        flag="mine_learning_rate",
    )
    student_learning_rate: float = option_field(
        0.01,
        float,
        "SGD learning rate of the student in the epoch schedule.",
        **POSITIVE,
        flag="mine_student_learning_rate",
    )
    bias_correction: bool = option_field(
        True,
        bool,
        "Correct the bias of the bound's gradient with a moving average.",
        flag="mine_bias_correction",
    )
