"""Mean and spread over seeds, and the Markdown page: made from the rows, by nothing else."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from pathlib import Path

from std_keras.research.sweeps.rows import Row
from std_keras.runs.run_directory import write_atomically

_FIGURES = ("top1", "top5", "classification_top1", "distillation_top1")
_TITLES = {
    "top1": "top-1",
    "top5": "top-5",
    "classification_top1": "class head",
    "distillation_top1": "distillation heads",
}

_OTHER_SEEDS = (
    " Where an arm has not all seeds, that is not the difference of the means in the table."
)


def summarize(rows: Sequence[Row]) -> list[Row]:
    """One row for each arm: of every accuracy, its mean, standard deviation and number of runs.

    The deviation is that of a sample (n - 1); it is empty for a single run. `gain` is the mean of
    the differences of top-1 to the first arm with the same seed.
    """
    done = [row for row in rows if row["state"] == "done"]
    by_arm: dict[str, list[Row]] = {}
    for row in done:
        by_arm.setdefault(row["arm"], []).append(row)
    arms = [arm for arm in by_arm if not arm.startswith("teacher-")]
    reference = {row["seed"]: float(row["top1"]) for row in by_arm[arms[0]]} if arms else {}
    figures = list(
        dict.fromkeys(k for row in done for k in row if k in ("top1", "top5") or "_top1" in k)
    )
    summary = []
    for arm, runs in by_arm.items():
        line = {"arm": arm, "split": runs[0]["split"], "runs": str(len(runs))}
        for name in figures:
            line |= _spread(name, [float(run[name]) for run in runs if run.get(name)])
        if arm in arms[1:]:
            gains = [
                float(run["top1"]) - reference[run["seed"]]
                for run in runs
                if run["seed"] in reference
            ]
            line |= _spread("gain", gains)
        line["parameters"] = _mean(runs, "parameters")
        usual, filling = _by_cost(runs)
        for name in ("train_seconds", "images_per_second"):
            line[name] = _mean(usual, name)
            if filling:
                line[f"{name}_filling"] = _mean(filling, name)
        summary.append(line)
    return summary


def _mean(runs: Sequence[Row], name: str) -> str:
    known = [float(run[name]) for run in runs if run[name]]
    return f"{statistics.fmean(known):.0f}" if known else ""


def _by_cost(runs: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Runs that read their teachers' predictions, and those that filled the cache for them.

    A mean over both kinds would be the time of neither. If all are of one kind there is no second.
    """
    filling = [run for run in runs if run.get("teacher_predictions") in ("computed", "mixed")]
    reading = [run for run in runs if run not in filling]
    return (reading, filling) if reading else (filling, [])


def write(path: Path, summary: Sequence[Row], *, source: Path) -> None:
    """Writes the summary as CSV."""
    columns = list(dict.fromkeys(name for row in summary for name in row)) or ["arm"]
    text = io.StringIO()
    text.write(f"# Made from {source.name}: mean, sample standard deviation, number of runs.\n")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(summary)
    write_atomically(path, text.getvalue())


def markdown(rows: Sequence[Row], *, title: str, about: str, command: str, source: str) -> str:
    """The page for people."""
    summary = summarize(rows)
    failed = [row for row in rows if row["state"] != "done"]
    splits = {row["split"] for row in rows if row["state"] == "done" and row["split"]}
    lines = [f"# {title}", ""]
    if about:
        lines += [about, ""]
    lines += [f"Made from `{source}`, which was written by", "", f"    {command}", ""]
    if splits == {"test"}:
        lines += ["Accuracies in percent on the test split, after the last epoch."]
    else:
        lines += [
            "Accuracies in percent after the last epoch, on a part of train that was held out "
            "(the teachers' on the test split): made to choose with, not to be quoted."
        ]
    lines += [
        "Mean ± standard deviation over seeds; the gain is the mean of the differences to the "
        "first arm with the same seed."
        + (_OTHER_SEEDS if _seeds_differ(rows) else "")
        + (
            " Times with teachers: of the runs that computed their predictions for the cache."
            if any(line.get("train_seconds_filling") for line in summary)
            else ""
        ),
        "",
    ]
    lines += _table(summary, first=_first_arm(rows))
    if failed:
        lines += ["", "Failed:", ""]
        lines += [f"- {r['arm']} seed {r['seed']}, {r['state']}: {r['error']}" for r in failed]
    lines += ["", "## What differs", "", *_differences(rows), "", "## Where it ran", ""]
    lines += [f"- {machine}" for machine in _machines(rows)]
    return "\n".join(lines) + "\n"


def _seeds_differ(rows: Sequence[Row]) -> bool:
    """Whether some arm has other seeds than the first, so that a gain is no difference of means."""
    seeds: dict[str, set[str]] = {}
    for row in rows:
        if row["state"] == "done" and not row["arm"].startswith("teacher-"):
            seeds.setdefault(row["arm"], set()).add(row["seed"])
    return len({frozenset(of_arm) for of_arm in seeds.values()}) > 1


def _table(summary: Sequence[Row], *, first: str) -> list[str]:
    heads = ["arm", *_TITLES.values(), f"gain over {first}"]
    heads += ["parameters", "seconds of training", "images/s", "runs"]
    rows = []
    for line in summary:
        cells = [f"`{line['arm']}`", *(_percent(line, name) for name in _FIGURES)]
        cells += [_percent(line, "gain", sign="+"), f"{int(line['parameters']):,}"]
        cells += [_seconds(line), _rate(line), line["runs"]]
        rows.append(cells)
    return _lines(heads, rows)


def _seconds(line: Row) -> str:
    filling = line.get("train_seconds_filling")
    text = f"{int(line['train_seconds']):,}"
    return f"{text} ({int(filling):,} with teachers)" if filling else text


def _rate(line: Row) -> str:
    filling = line.get("images_per_second_filling")
    text = line["images_per_second"]
    return f"{text} ({filling} with teachers)" if filling else text


def _differences(rows: Sequence[Row]) -> list[str]:
    columns = sorted({name for row in rows for name in row if name.startswith("--")})
    if not columns:
        return ["Nothing but the seed."]
    arms: dict[str, list[Row]] = {}
    for row in rows:
        if not row["arm"].startswith("teacher-"):
            arms.setdefault(row["arm"], []).append(row)
    cells = [[f"`{arm}`", *(_values(of_arm, c) for c in columns)] for arm, of_arm in arms.items()]
    return [
        "An empty cell: the default of the flag.",
        "",
        *_lines(["arm", *(f"`{c}`" for c in columns)], cells),
    ]


def _values(rows: Sequence[Row], column: str) -> str:
    """What an option was in the runs of an arm: one value, or one for each seed."""
    values = dict.fromkeys(row.get(column, "") for row in rows)
    return ", ".join(f"`{value}`" if value else "default" for value in values if any(values))


def _machines(rows: Sequence[Row]) -> list[str]:
    def described(row: Row) -> str:
        cores = row.get("cores", "")
        parts = [row.get("processor", ""), f"{cores} core" if cores == "1" else f"{cores} cores"]
        parts += [row.get("precision", ""), row.get("accelerator", "")]
        parts += [f"TensorFlow {row.get('tensorflow', '')}", f"Keras {row.get('keras', '')}"]
        parts += [f"Python {row.get('python', '')}"]
        return ", ".join(p for p in parts if p) + f"; revision {row.get('git_revision') or '?'}"

    return list(dict.fromkeys(described(row) for row in rows if row.get("processor")))


def _first_arm(rows: Sequence[Row]) -> str:
    arms = [r["arm"] for r in rows if r["state"] == "done" and not r["arm"].startswith("teacher-")]
    return f"`{arms[0]}`" if arms else "the first arm"


def _spread(name: str, values: Sequence[float]) -> Row:
    if not values:
        return {}
    deviation = f"{statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return {
        f"{name}_mean": f"{statistics.fmean(values):.4f}",
        f"{name}_std": deviation,
        f"{name}_n": str(len(values)),
    }


def _percent(line: Row, name: str, *, sign: str = "") -> str:
    if not line.get(f"{name}_mean"):
        return ""
    text = f"{100 * float(line[f'{name}_mean']):{sign}.2f}"
    deviation = line[f"{name}_std"]
    return f"{text} ± {100 * float(deviation):.2f}" if deviation else text


def _lines(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *("---:" for _ in heads[1:])]
    return [f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows)]
