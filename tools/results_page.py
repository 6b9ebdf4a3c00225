"""Writes RESULTS.md: what others report, cell by cell, beside what was measured here.

Usage: python -m tools.results_page [--published=results/published.csv] [--output=RESULTS.md]

`questions.csv`, beside it, has the questions of the paper's ablations and which difference of ours
answers them. `published.csv` names our cell as TABLE:ARM:COLUMN, of `results/TABLE.csv`: an arm of
a sweep, a difference `ARM - ARM` (of runs with the same seed), or a model of `models.csv`. Cells
that name nothing, or something that is not in the table yet, stand together at the end of the page.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from std_keras.config.option import RUN, Option
from std_keras.errors import InputError
from std_keras.programs import flags, program
from std_keras.programs.program import StopRequest
from std_keras.research.sweeps import measured, questions
from std_keras.research.sweeps.measured import Table
from std_keras.runs.run_directory import write_atomically

ROOT = Path(__file__).resolve().parent.parent

_OPTIONS = {
    "published": Option(
        topic=RUN, help="The CSV file of others' figures; our tables lie beside it.", kind=str
    ),
    "output": Option(topic=RUN, help="The Markdown file to write.", kind=str),
}
_COLUMNS = ("table", "setting", "figure", "published", "certainty", "source", "ours")
CERTAINTIES = {
    "read": "read in the source that is named",
    "computed": "own arithmetic on figures that were read",
    "second-hand": "from somebody else's description of the source, not from the source",
    "missing": "looked for and not found",
}
NOT_RUN = "Not run here"
_QUESTIONS = (
    "From `results/questions.csv` and the sweeps that it names. Ours is the mean difference ± half "
    "the width of its 95 % confidence interval (Student's t; runs with the same seed are paired, n "
    "seeds). Seeds differ in initialisation alone; data, augmentation, teachers' labels and test "
    "images are the same.",
    "",
    "The verdict follows from the figures: *holds* and *the opposite*, or *better* and *worse* "
    "where no direction is known, if the interval leaves out 0; else *cannot be told apart*. Of "
    "twenty differences that are nothing, one gets a verdict by chance. What is said is about this "
    "student, these teachers and this budget.",
)


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags and writes the page."""
    parsed = flags.parse(
        arguments,
        program="python -m tools.results_page",
        about="Writes what others report, cell by cell, beside what was measured here.",
        options=_OPTIONS,
        defaults={
            "published": str(ROOT / "results" / "published.csv"),
            "output": str(ROOT / "RESULTS.md"),
        },
    )
    write_atomically(Path(parsed["output"]), page(Path(parsed["published"])))


def page(published: Path) -> str:
    """The page as Markdown.

    Raises:
        InputError: if a table is damaged, or `published` says what cannot be.
    """
    cells = measured.read(published).rows
    if not cells or any(tuple(cell) != _COLUMNS for cell in cells):
        raise InputError(f"{published} must have the columns {', '.join(_COLUMNS)}")
    lines = [
        "# Results",
        "",
        "The tables of the paper (Li et al., ICML 2022) and of the public PyTorch reproduction "
        "(github.com/devrimcavusoglu/std), cell by cell, beside ours. Made by",
        "",
        "    python -m tools.results_page",
        "",
        f"from `results/{published.name}` and the tables that are named below; nothing here is "
        "written by hand.",
        "",
        "- Accuracies are percent on the test split, ours after the last epoch, over n seeds. A "
        "difference is the mean of the differences of runs with the same seed.",
        "- ± is half the width of the 95 % confidence interval in the answers to the paper's "
        "questions, and the sample standard deviation in the tables below them, whose heading says "
        "so.",
        "- The paper's tables were not at hand. How far each figure can be trusted:",
    ]
    lines += [f"  - *{name}*: {meaning};" for name, meaning in CERTAINTIES.items()]
    lines += [
        f"- What has no measurement of ours is at the end, under [{NOT_RUN}](#not-run-here).",
        "- The paper's ablations are on ImageNet. Ours beside them, from `cifar100_cpu_study`, ask "
        "the same question of a far smaller student on CIFAR-100; compare the sign, not the size.",
        "- `cifar100_reproduction_short` has 60 epochs where the reproduction has 300.",
    ]
    tables: dict[str, Table | None] = {}
    not_run = []
    measured_lines: dict[str, list[str]] = {}
    for cell in cells:
        ours = _cell_of_ours(cell, folder=published.parent, tables=tables)
        if ours is None:
            not_run.append(_row([cell["table"], *_published(cell)]))
        else:
            measured_lines.setdefault(cell["table"], []).append(_row([*_published(cell), *ours]))
    asked = published.with_name("questions.csv")
    if asked.is_file():
        lines += ["", "## The paper's questions, answered at CPU size", "", *_QUESTIONS, ""]
        lines += questions.lines(asked)
        tables |= questions.sources(asked)
    for title, rows in measured_lines.items():
        lines += ["", f"## {title}", "", *_head(*_PUBLISHED, _OURS, "from"), *rows]
    used = {name: table for name, table in tables.items() if table is not None}
    if used:
        lines += ["", "## The commands", ""]
        for name, table in used.items():
            lines += [f"- `results/{name}.csv`: `{table.command}`"]
    if not_run:
        lines += ["", f"## {NOT_RUN}", "", *_head("table", *_PUBLISHED), *not_run]
    return "\n".join(lines) + "\n"


_PUBLISHED = ("setting", "figure", "published", "certainty", "source")
_OURS = "ours ± standard deviation"


def _published(cell: dict[str, str]) -> list[str]:
    return [cell[name] or "not found" if name == "published" else cell[name] for name in _PUBLISHED]


def _head(*names: str) -> list[str]:
    numbers = ("published", _OURS)
    return [_row(names), _row(["---:" if name in numbers else "---" for name in names])]


def _row(values: Sequence[str]) -> str:
    return f"| {' | '.join(values)} |"


def _cell_of_ours(
    cell: dict[str, str], *, folder: Path, tables: dict[str, Table | None]
) -> tuple[str, str] | None:
    """Our figure and where it is from; None if it was not measured."""
    if cell["certainty"] not in CERTAINTIES or (cell["certainty"] == "missing") is bool(
        cell["published"]
    ):
        raise InputError(
            f"{folder}: {cell['setting']!r}, {cell['figure']}: certainty={cell['certainty']} with "
            f"published={cell['published']!r}; it must be one of {', '.join(CERTAINTIES)}, and "
            "missing if there is no figure"
        )
    for place in filter(None, cell["ours"].split("; ")):
        name, _, rest = place.partition(":")
        arm, _, column = rest.rpartition(":")
        if name not in tables:
            path = folder / f"{name}.csv"
            tables[name] = measured.read(path) if path.is_file() else None
        table = tables[name]
        found = None if table is None else _ours(table, arm, column)
        if found is not None:
            origin = f"`{name}`, `{arm}`"
            return found, f"{origin}, `{column}`" if " - " in column else origin
    return None


def _ours(table: Table, arm: str, column: str) -> str | None:
    """Our figure as text; None if it was not measured."""
    if column in ("parameters", "gmacs"):
        rows = [row for row in table.rows if row.get("name") == arm and row.get(column)]
        if not rows:
            return None
        value = float(rows[0][column])
        return f"{value / 1e6:.2f}" if column == "parameters" else f"{value:.2f}"
    minus = " - " in arm or " - " in column
    values = measured.differences(table, arm, column)
    if not values:
        return None
    mean = 100 * statistics.fmean(values.values())
    text = f"{mean:+.2f}" if minus else f"{mean:.2f}"
    if len(values) > 1:
        text += f" ± {100 * statistics.stdev(values.values()):.2f}"
    return f"{text} (n = {len(values)})"


if __name__ == "__main__":
    sys.exit(program.run(main))
