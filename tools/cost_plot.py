"""Draws accuracy against training cost, a point for each arm of a sweep.

Usage: python -m tools.cost_plot results/NAME.csv [--output=FILE.svg]   (--help lists the flags)

The cost is counted, not timed: three times the multiply-accumulates of a forward pass for every
image that is trained on (forward, and backward to inputs and to weights), and one forward pass of
each teacher, which is what labels cost that no cache has yet. --cost=minutes takes the minutes of
training instead, as the rows have them, teachers' own training not included. Needs matplotlib.
"""

from __future__ import annotations

import math
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from std_keras.config.option import RUN, Option
from std_keras.errors import InputError
from std_keras.programs import flags, program
from std_keras.programs.program import StopRequest
from std_keras.research.sweeps import plan, rows
from std_keras.runs import pretrained
from std_keras.runs.run_directory import RunDirectory, replace_atomically

_OPTIONS = {
    "output": Option(
        topic=RUN, help="The picture, .svg or .png; beside the table if not given.", kind=str
    ),
    "cost": Option(
        topic=RUN,
        help="What is counted: multiply-accumulates, or the minutes of training on the machine of "
        "the rows.",
        kind=str,
        choices=("macs", "minutes"),
    ),
    "batch_size": Option(
        topic=RUN, help="Images in a step, for rows whose flags do not say.", kind=int
    ),
}
_WIDE = 30  # Costs that differ by more than so many times get a logarithmic axis.
_PASSES = 3  # Forward, backward to the inputs, backward to the weights.
_GROUPS = {  # Okabe and Ito's colours, which colour-blind readers can tell apart.
    "without a teacher": "#0072b2",
    "distilled without tokens": "#e69f00",
    "distilled with tokens": "#009e73",
}


@dataclass(frozen=True)
class Point:
    """One arm.

    Attributes:
        arm: its name.
        group: a key of `_GROUPS`.
        cost: multiply-accumulates or minutes of one run.
        top1: percent, mean over seeds.
        deviation: percent, sample standard deviation over seeds; 0 for one seed.
        runs: how many seeds.
    """

    arm: str
    group: str
    cost: float
    top1: float
    deviation: float
    runs: int


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags and draws."""
    paths = [a for a in arguments if not a.startswith("-")]
    parsed = flags.parse(
        [a for a in arguments if a.startswith("-")],
        program="python -m tools.cost_plot TABLE",
        about="Draws accuracy against training cost, a point for each arm of a sweep.",
        options=_OPTIONS,
        defaults={"batch_size": 128, "cost": "macs"},
    )
    if len(paths) != 1:
        raise InputError(f"{paths} must be one table of a sweep, such as results/NAME.csv")
    table = Path(paths[0])
    if not table.is_file():
        raise InputError(f"{table} is not there; std-keras sweep writes it")
    output = Path(parsed["output"] or table.with_suffix(".svg"))
    if output.suffix not in (".svg", ".png"):
        raise InputError(f"--output={output} must end in .svg or .png")
    read = rows.read(table)
    if parsed["cost"] == "minutes":
        found = timed_points(read)
        label = f"minutes of training, {_machine(read)}"
    else:
        found = points(read, batch_size=parsed["batch_size"])
        label = ""
    if not found:
        raise InputError(f"{table} has no finished run on the test split with its cost")
    try:
        import matplotlib

        matplotlib.rcParams["svg.hashsalt"] = "std_keras"  # Or the names inside are random.
        figure = draw(found, label=label)
    except ImportError as error:
        raise InputError("matplotlib is missing; pip install 'std_keras[analysis]'") from error
    output.parent.mkdir(parents=True, exist_ok=True)
    replace_atomically(
        output,
        # No date inside, so that the same table gives the same file.
        lambda path: (
            figure.savefig(path, format=output.suffix[1:], metadata={"Date": None})
            if output.suffix == ".svg"
            else figure.savefig(path, format="png", dpi=200)
        ),
    )


def points(table: Sequence[rows.Row], *, batch_size: int) -> list[Point]:
    """The arms with finished runs on the test split, whose cost is known.

    Args:
        table: the rows of a sweep.
        batch_size: of rows whose flags do not name one.
    """
    trained = {
        row["arm"].removeprefix(plan.TEACHER): int(row["macs"])
        for row in table
        if row["arm"].startswith(plan.TEACHER) and row.get("macs")
    }
    counted = [
        row for row in table if row.get("macs") and _teachers_macs(row, trained=trained) is not None
    ]

    def cost(runs: Sequence[rows.Row]) -> float:
        flag = rows.flags_by_name(runs[0]["flags"])
        images = int(runs[0]["steps"]) * int(flag.get("batch_size", batch_size))
        per_image = _PASSES * int(runs[0]["macs"])
        return float(images * (per_image + (_teachers_macs(runs[0], trained=trained) or 0)))

    return _points(counted, cost=cost)


def timed_points(table: Sequence[rows.Row]) -> list[Point]:
    """The arms with finished runs on the test split, with their mean minutes of training."""
    return _points(
        [row for row in table if row.get("train_seconds")],
        cost=lambda runs: statistics.fmean(float(run["train_seconds"]) for run in runs) / 60,
    )


def _points(
    table: Sequence[rows.Row], *, cost: Callable[[Sequence[rows.Row]], float]
) -> list[Point]:
    by_arm: dict[str, list[rows.Row]] = {}
    for row in table:
        is_arm = not row["arm"].startswith(plan.TEACHER)
        if row["state"] == "done" and row["split"] == "test" and is_arm:
            by_arm.setdefault(row["arm"], []).append(row)
    found = []
    for arm, runs in by_arm.items():
        top1 = [100 * float(run["top1"]) for run in runs]
        found.append(
            Point(
                arm=arm,
                group=_group(rows.flags_by_name(runs[0]["flags"])),
                cost=cost(runs),
                top1=statistics.fmean(top1),
                deviation=statistics.stdev(top1) if len(top1) > 1 else 0.0,
                runs=len(top1),
            )
        )
    return found


def _machine(table: Sequence[rows.Row]) -> str:
    """What the rows ran on: the GPU, or else how many cores of which processor."""
    names = []
    for row in table:
        if row.get("processor") and row.get("train_seconds"):
            cores = f"{row['cores']} core{'' if row['cores'] == '1' else 's'} of "
            names.append(row.get("accelerator") or cores + row["processor"])
    return "; ".join(dict.fromkeys(names)) or "on a machine that the rows do not name"


def _teachers_macs(row: rows.Row, *, trained: Mapping[str, int]) -> int | None:
    """Of all teachers together; None if it is not known of one of them.

    A teacher of the sweep's own is a row of the table. One that comes with the package is none: the
    flags name it, and it says what it costs.
    """
    names = row.get("teachers", "").split()
    if not names:  # The flags of every arm may name a teacher that this one does not use.
        return 0
    costs = [trained[name] for name in names if name in trained]
    for name in re.findall(rf"{pretrained.PREFIX}([\w-]+)", row["flags"]):
        if name in pretrained.names():
            result = RunDirectory(pretrained.folder() / name).read_result()
            costs += [int(result["macs"])] if "macs" in result else []
    return sum(costs) if len(costs) == len(names) else None


def _group(flag: Any) -> str:
    if flag.get("distillation", "none") == "none":
        return "without a teacher"
    tokens = flag.get("tokens", "both")
    return "distilled without tokens" if tokens in ("none", "deit") else "distilled with tokens"


def draw(found: Sequence[Point], *, label: str = "") -> Any:
    """The picture as a matplotlib figure: names in a column at the right, so that none overlap.

    Args:
        found: what to draw.
        label: of the cost, in units of 1; multiply-accumulates if not given.
    """
    from matplotlib.figure import Figure

    most = max(p.cost for p in found)
    exponent = 0 if label or not most else 3 * int(math.log10(most) // 3)
    unit = 10.0**exponent
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for group, color in _GROUPS.items():
        members = [p for p in found if p.group == group]
        if members:
            axes.errorbar(
                [p.cost / unit for p in members],
                [p.top1 for p in members],
                yerr=[p.deviation for p in members],
                fmt="o",
                color=color,
                capsize=3,
                label=group,
            )
    low, high = axes.get_ylim()
    heights = spread([p.top1 for p in found], gap=(high - low) / 24)
    if 0 < _WIDE * min(p.cost for p in found) < max(p.cost for p in found):
        axes.set_xscale("log")
    left, right = axes.get_xlim()
    beside = 0.06  # Of the axis' length.
    if axes.get_xscale() == "log":
        column = right * (right / left) ** beside
    else:
        column = right + beside * (right - left)
    for point, height in zip(found, heights, strict=True):
        axes.annotate(
            point.arm,
            xy=(point.cost / unit, point.top1),
            xytext=(column, height),
            fontsize=8,
            va="center",
            color=_GROUPS[point.group],
            arrowprops={
                "arrowstyle": "-",
                "color": "#c4c9cf",
                "linewidth": 0.6,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )
    counted = (
        f"multiply-accumulates of one training run, 10$^{{{exponent}}}$, labels of teachers too"
    )
    axes.set_xlabel(label or counted)
    runs = sorted({p.runs for p in found})
    seeds = "–".join(str(n) for n in dict.fromkeys((runs[0], runs[-1])))  # noqa: RUF001
    axes.set_ylabel(f"top-1 on the test split, percent ({seeds} seed(s))")
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)
    return figure


def spread(heights: Sequence[float], *, gap: float) -> list[float]:
    """Heights in the same order of size, at least `gap` apart, moved as little as that needs.

    Groups that touch are put around the mean of what they wanted (isotonic regression by pooling).
    """
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    groups: list[list[float]] = []  # Wanted heights, each less its place in the group times gap.
    for place, index in enumerate(order):
        groups.append([heights[index] - place * gap])
        while len(groups) > 1 and statistics.fmean(groups[-2]) > statistics.fmean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    flat = [statistics.fmean(group) for group in groups for _ in group]
    placed = [0.0] * len(heights)
    for place, index in enumerate(order):
        placed[index] = flat[place] + place * gap
    return placed


if __name__ == "__main__":
    sys.exit(program.run(main))
