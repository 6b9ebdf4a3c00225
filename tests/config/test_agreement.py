"""Flags that contradict each other are refused by name."""

from __future__ import annotations

import pytest

from std_keras.config import TrainConfig
from std_keras.errors import InputError


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"distillation": "hard"}, ["distillation=hard", "teacher"]),
        (
            {"learning_rate": 1e-6},
            ["minimum_learning_rate=1e-05", "learning_rate=1e-06"],
        ),
        ({"epochs": 5, "warmup_epochs": 5.0}, ["warmup_epochs=5.0", "epochs=5"]),
        (
            {"mine_weight": 0.1, "distillation": "hard", "teacher": ("x",), "tokens": "spatial"},
            ["mine_weight=0.1", "tokens=spatial"],
        ),
        ({"mine_weight": 0.1}, ["mine_weight=0.1", "distillation=none"]),
        (
            {"objective": "nasty", "teacher": ("x",), "distillation": "soft"},
            ["objective=nasty", "distillation=soft", "use distillation=none"],
        ),
        ({"objective": "nasty"}, ["objective=nasty", "got 0", "teacher=RUN"]),
        ({"objective": "nasty", "teacher": ("x", "y")}, ["objective=nasty", "got 2"]),
        ({"objective": "skeptical"}, ["objective=skeptical", "distillation=none"]),
        ({"objective": "class_head", "teacher": ("x",)}, ["objective=class_head"]),
        (
            {
                "objective": "class_head",
                "distillation": "soft",
                "teacher": ("x",),
                "mine_weight": 0.1,
            },
            ["mine_weight=0.1", "objective=class_head"],
        ),
        *[
            (
                {"objective": "skeptical", "distillation": "soft", "teacher": ("x",), n: v},
                [f"{n}={v}", "objective=skeptical"],
            )
            for n, v in (("tokens", "none"), ("token_mlps", 2), ("propagate_tokens", True))
        ],
        (
            {"batch_size": 10, "accumulation_steps": 4},
            ["batch_size=10", "accumulation_steps=4"],
        ),
    ],
)
def test_values_that_do_not_agree(values, named):
    with pytest.raises(InputError) as info:
        TrainConfig(**values)
    for part in named:
        assert part in str(info.value)
