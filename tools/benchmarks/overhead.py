"""Measures what each part of distillation adds to the training step of the backbone.

Takes the flags of a training; its model, batch size, optimizer and precision count. Teachers'
labels come with the batch, so that nothing is measured but what the student itself costs; and what
it costs to make the larger view of a teacher that looks at more pixels, without that teacher. All
variants take turns in one process, in another order in each round; --rounds=5 takes about 60 steps.

Each row is compared with the one that it is "added_to": "added_percent" of its time, by best, by
median, and by the median of the ratios within a round, which a slow drift of the machine does not
touch. Beside it what it adds to the trainable parameters of the exported student (so the critics of
mutual information and the moving average add none) and to the arithmetic of a step, in per cent.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from std_keras import progress
from std_keras.config import TrainConfig, options
from std_keras.config.option import Option
from tools.benchmarks import our_step, setting, train_step, turns

_TOPIC = "Overhead benchmark"
OPTIONS: dict[str, Option] = {
    **{
        name: dataclasses.replace(train_step.OPTIONS[name], topic=_TOPIC)
        for name in ("rounds", "seconds")
    },
    **options(),
}
DEFAULTS = {k: v for k, v in train_step.DEFAULTS.items() if k in OPTIONS}
# Of the results, those that results/benchmarks.csv keeps.
FIGURES = ("variants/*/seconds/*", "variants/*/added_percent/*", "variants/*/*_percent")
_BACKBONE, _STUDENT = "backbone", "one token set at the last site"
_FED = "batches made while it trains"


@dataclass(frozen=True)
class Variant:
    """A step to measure.

    Attributes:
        name: in the table.
        added_to: the variant that it is compared with; "" for none.
        changes: of the configuration.
        metrics: whether the step computes what is logged.
        view: None for a batch that is there already; else batches are made while it trains, of
            pictures of twice the images' side: with a teacher's view of so many times that side,
            or with 1 without any.
    """

    name: str
    added_to: str
    changes: dict[str, Any]
    metrics: bool = False
    view: int | None = None


def variants(config: TrainConfig) -> list[Variant]:
    """What is measured: everything that is asked about is off, but for what a variant adds."""
    one: dict[str, Any] = {
        "distillation": "hard" if config.distillation.kind == "none" else config.distillation.kind,
        "teacher": ("any,site=last",),
    }
    two = {**one, "teacher": ("any,site=last", "other,site=last")}
    # Its default learning rate is set by the configuration, and must not be None.
    mine = {"mine_weight": 0.01, "mine_schedule": "step"}
    average = {"ema_decay": config.optimization.ema_decay or 0.9998}
    clipping = {"clip_norm": config.optimization.clip_norm or 1.0}
    return [
        Variant(_BACKBONE, "", {}),
        Variant(_STUDENT, _BACKBONE, one),
        Variant("a second teacher's token set", _STUDENT, two),
        Variant("MINE in every step", _STUDENT, {**one, **mine}),
        Variant("moving average", _STUDENT, {**one, **average}),
        Variant("clipping", _STUDENT, {**one, **clipping}),
        Variant("Muon instead of the recipe's optimizer", _STUDENT, {**one, "optimizer": "muon"}),
        Variant(_FED, _STUDENT, one, view=1),
        Variant("a teacher's view of twice the side", _FED, one, view=2),
        Variant("metrics", _STUDENT, one, metrics=True),
        Variant(
            "moving average, clipping, metrics",
            _STUDENT,
            {**one, **average, **clipping},
            metrics=True,
        ),
    ]


def run(*, rounds: int, seconds: float, **flags: Any) -> dict[str, Any]:
    """The table; see the module's text and `OPTIONS`."""
    train_step.check_turns(rounds, seconds)
    config = TrainConfig(**flags)
    off = {
        "distillation": "none",
        "teacher": (),
        "mine_weight": 0.0,
        "ema_decay": 0.0,
        "clip_norm": 0.0,
    }
    calls: dict[str, Callable[[], None]] = {}
    facts: dict[str, dict[str, Any]] = {}
    made = variants(config)
    if setting.dataset(config.replace(**off)).image_shape[2] != 3:
        progress.say("grey images: photographs for larger views are not, so they are left out")
        made = [variant for variant in made if variant.view is None]
    with tempfile.TemporaryDirectory() as folder:
        for number, variant in enumerate(made):
            calls[variant.name], facts[variant.name] = our_step.make(
                config.replace(**{**off, **variant.changes}),
                Path(folder) / str(number),
                teachers="cached" if "teacher" in variant.changes else "off",
                xla=config.performance.jit_compile,
                metrics=variant.metrics,
                view=variant.view,
            )
            calls[variant.name]()
        timed = turns.in_one_process(
            calls, rounds=rounds, seconds=seconds, times=config.performance.steps_per_call
        )
    return {
        "benchmark": "overhead",
        "model": config.model.name,
        "batch_size": config.optimization.batch_size,
        "precision": "bfloat16" if config.performance.mixed_precision else "float32",
        "xla": config.performance.jit_compile,
        "rounds": rounds,
        "variants": {v.name: _row(v, timed, facts) for v in made},
    }


def _row(
    variant: Variant, timed: dict[str, list[list[float]]], facts: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    own = timed[variant.name]
    row: dict[str, Any] = {"seconds": turns.summary([s for turn in own for s in turn])}
    if not variant.added_to:
        return row
    base = timed[variant.added_to]
    first = turns.summary([s for turn in base for s in turn])
    within = [min(a) / min(b) for a, b in zip(own, base, strict=True)]
    row["added_percent"] = {
        "best": _percent(row["seconds"]["best"], first["best"]),
        "median": _percent(row["seconds"]["median"], first["median"]),
        "within a round": _percent(statistics.median(within), 1.0),
    }
    for name, key in (("parameters", "parameters"), ("flop", "flop")):
        row[f"{name}_percent"] = _percent(facts[variant.name][key], facts[variant.added_to][key])
    return row


def _percent(value: float, base: float) -> float:
    return 100 * (value / base - 1)
