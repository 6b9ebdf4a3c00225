"""Measures how the time of a training step grows with the batch, the patches and the teachers.

Takes the flags of a training. From its size downwards (teachers: from none upwards) --points steps
of each kind take turns in one process. A straight line is fitted to the best times:
"seconds_per_unit" and "seconds_at_none" are its slope and its start, "largest_deviation_percent"
how far a point is from it at most, of the point's time. --plot=FILE draws points and lines.

Patches grow by the size of the images, so their number is a square; only models that take any size
can do that, which Swin's windows do not. Teachers are copies of the first one of the flags, at the
last site; with --teachers=cached their networks do not run, and what grows is the student alone.

"step_bytes" is what steps of this batch take in a process of their own, beside what it held before
its first one (on a GPU: all that it holds there); "bytes_per_image" is the slope of its line.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from std_keras.config import TrainConfig, options
from std_keras.config.option import Option
from std_keras.errors import InputError
from tools.benchmarks import our_step, setting, train_step, turns

_TOPIC = "Growth benchmark"
OPTIONS = {
    "points": Option(topic=_TOPIC, help="Sizes of each kind.", kind=int),
    "plot": Option(topic=_TOPIC, help="A PNG file to draw (needs matplotlib).", kind=str),
    "teachers": Option(
        topic=_TOPIC,
        help="Whether teachers run, or their labels are there already.",
        kind=str,
        choices=("on", "cached"),
    ),
    **{
        name: dataclasses.replace(train_step.OPTIONS[name], topic=_TOPIC)
        for name in ("rounds", "seconds")
    },
    **options(),
}
DEFAULTS = {"points": 4, **{k: v for k, v in train_step.DEFAULTS.items() if k in OPTIONS}}
# Of the results, those that results/benchmarks.csv keeps.
FIGURES = ("fits/*", "bytes_per_image")
KINDS = {"batch": "images", "patches": "patches", "teachers": "teachers"}


@dataclasses.dataclass(frozen=True)
class Line:
    """A straight line through points.

    Attributes:
        slope: per unit of x.
        start: at x = 0.
        deviation: largest distance of a point from it, as a part of the point's value.
    """

    slope: float
    start: float
    deviation: float


def fit(points: Mapping[int, float]) -> Line:
    """The line of least squares through (x, y)."""
    count = len(points)
    mean_x, mean_y = sum(points) / count, sum(points.values()) / count
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points.items())
    slope /= sum((x - mean_x) ** 2 for x in points)
    start = mean_y - slope * mean_x
    deviation = max(abs(start + slope * x - y) / y for x, y in points.items())
    return Line(slope=slope, start=start, deviation=deviation)


def sizes(
    config: TrainConfig, *, side: int, image: int, points: int
) -> dict[str, dict[int, dict[str, Any]]]:
    """By kind and by number, what is changed of the configuration.

    Args:
        config: the largest batch and image.
        side: of its image in patches.
        image: side of its image in pixels.
        points: how many sizes of each kind.
    """
    batch, patch = config.optimization.batch_size, image // side
    batches = sorted({round(batch * i / points) for i in range(1, points + 1)} - {0})
    sides = {max(1, round(side * math.sqrt(i / points))) for i in range(1, points + 1)}
    first = config.distillation.teachers[0].split(",")[0]
    found: dict[str, dict[int, dict[str, Any]]] = {
        "batch": {n: {"batch_size": n} for n in batches},
        "patches": {n * n: {"image_size": n * patch} for n in sorted(sides)},
        "teachers": {0: {"distillation": "none", "teacher": (), "mine_weight": 0.0}},
    }
    for n in range(1, points):
        found["teachers"][n] = {"teacher": (f"{first},site=last",) * n, "mine_weight": 0.0}
    for kind, numbers in found.items():
        # A line goes through two points whatever they are.
        if len(numbers) < 3:
            raise InputError(
                f"--points={points} leaves {len(numbers)} sizes of {kind}; give more or larger ones"
            )
    return found


def run(
    *, points: int, plot: str | None, teachers: str, rounds: int, seconds: float, **flags: Any
) -> dict[str, Any]:
    """The figures; see the module's text and `OPTIONS`."""
    train_step.check_turns(rounds, seconds)
    if points < 3:
        raise InputError(f"--points={points} is outside its limits; it must be at least 3")
    config = TrainConfig(**flags)
    if config.distillation.kind == "none":
        raise InputError("--distillation=none has no teachers to grow by; use a student's flags")
    if plot:
        _figure_class()  # Before minutes are spent.
    calls: dict[str, Callable[[], None]] = {}
    side, image = _sides(config)
    made = sizes(config, side=side, image=image, points=points)
    names = {kind: {n: f"{n} {KINDS[kind]}" for n in numbers} for kind, numbers in made.items()}
    # Before this process holds all the others: both together may be more than there is.
    held = {
        n: step_bytes(config.replace(**changes), teachers=teachers)
        for n, changes in made["batch"].items()
    }
    with tempfile.TemporaryDirectory() as folder:
        for kind, numbers in made.items():
            for number, changes in numbers.items():
                name = names[kind][number]
                changed = config.replace(**changes)
                calls[name], _ = our_step.make(
                    changed,
                    Path(folder) / name.replace(" ", "_"),
                    teachers="off" if changed.distillation == "none" else teachers,
                    xla=config.performance.jit_compile,
                )
                calls[name]()
        timed = turns.in_one_process(
            calls, rounds=rounds, seconds=seconds, times=config.performance.steps_per_call
        )
    best = {
        kind: {n: min(s for turn in timed[name] for s in turn) for n, name in numbers.items()}
        for kind, numbers in names.items()
    }
    lines = {kind: fit(values) for kind, values in best.items()}
    if plot:
        draw(best, lines, Path(plot))
    known = {n: float(value) for n, value in held.items() if value is not None}
    return {
        "benchmark": "growth",
        "model": config.model.name,
        "teachers": teachers,
        "precision": "bfloat16" if config.performance.mixed_precision else "float32",
        "xla": config.performance.jit_compile,
        "rounds": rounds,
        "points": {
            names[kind][n]: {
                "seconds": value,
                "line": lines[kind].start + lines[kind].slope * n,
                "step_bytes": held.get(n) if kind == "batch" else None,
            }
            for kind, values in best.items()
            for n, value in values.items()
        },
        "bytes_per_image": fit(known).slope if len(known) == len(held) else None,
        "fits": {
            kind: {
                "seconds_per_unit": line.slope,
                "seconds_at_none": line.start,
                "largest_deviation_percent": 100 * line.deviation,
            }
            for kind, line in lines.items()
        },
    }


def step_bytes(config: TrainConfig, *, teachers: str) -> int | None:
    """What steps take in a process of their own; None if the system does not tell.

    TensorFlow keeps what it once took for the next step, so in the process of all the others
    nothing could be seen.
    """
    options = {
        "config": config.flat(),
        "teachers": teachers,
        "xla": config.performance.jit_compile,
    }
    name = f"memory at batch {config.optimization.batch_size}"
    with turns.Processes() as processes:
        processes.start(turns.Job(name, "tools.benchmarks.our_step:prepare", options))
        processes.take_turns(rounds=1, seconds=0)
        figures = processes.figures()[name]
    if figures["device_peak_bytes"] is not None:
        return int(figures["device_peak_bytes"])
    before = figures["before_first_call_bytes"]
    return None if before is None else int(figures["peak_bytes"] - before)


def draw(best: Mapping[str, Mapping[int, float]], lines: Mapping[str, Line], path: Path) -> Any:
    """Draws a panel for each kind; returns the figure, which is written."""
    figure = _figure_class()(figsize=(3.4 * len(best), 3.0), layout="constrained")
    axes: Sequence[Any] = figure.subplots(1, len(best), sharey=True, squeeze=False)[0]
    for axis, (kind, values) in zip(axes, best.items(), strict=True):
        line, ends = lines[kind], (0, max(values))
        axis.plot(ends, [line.start + line.slope * x for x in ends], color="0.6")
        axis.plot(list(values), list(values.values()), "o")
        axis.set_xlabel(KINDS[kind])
    axes[0].set_ylim(bottom=0)  # Of all, and after all: it ends the search for limits.
    axes[0].set_ylabel("seconds per step")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return figure


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(f"--plot needs matplotlib: {error}") from error
    return Figure


def _sides(config: TrainConfig) -> tuple[int, int]:
    """Of the largest image, in patches and in pixels."""
    from std_keras.training import build

    data = setting.dataset(config)
    plain = config.replace(distillation="none", teacher=(), mine_weight=0.0)
    features = our_step.block_facts(build.build_model(plain, data), 1)["features"]
    side = features[0] if len(features) == 3 else math.isqrt(features[0])
    return side, data.image_shape[0]
