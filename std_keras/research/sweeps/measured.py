"""Metrics of the arms of a sweep by seed, and their differences, from a table of `results/`."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from std_keras.errors import InputError
from std_keras.files.texts import read_text


@dataclass(frozen=True)
class Table:
    """A CSV file of ours: the command that wrote it, and its rows."""

    command: str
    rows: tuple[dict[str, str], ...]


def read(path: Path) -> Table:
    """The table in a CSV file; the first comment is its command.

    Raises:
        InputError: if the file does not exist or is not text.
    """
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error
    comments = [line[2:] for line in lines if line.startswith("# ")]
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return Table(command=comments[0] if comments else "", rows=tuple(rows))


def by_seed(table: Table, arm: str, column: str) -> dict[str, float]:
    """A metric of an arm, by seed.

    Only finished runs on the test split count, not runs that were made to choose options.
    """
    return {
        row["seed"]: float(row[column])
        for row in table.rows
        if row.get("arm") == arm
        and row.get("state") == "done"
        and row.get("split") == "test"
        and row.get(column)
    }


def differences(table: Table, arms: str, columns: str) -> dict[str, float]:
    """Differences by seed: of two arms (`ARM - ARM`), or of two metrics of one (`COLUMN - COLUMN`).

    Seeds that one side lacks are skipped. Without a minus it is the metric itself.
    """
    arm, _, other_arm = arms.partition(" - ")
    column, _, other_column = columns.partition(" - ")
    values = by_seed(table, arm, column)
    if not other_arm and not other_column:
        return values
    others = by_seed(table, other_arm or arm, other_column or column)
    return {seed: value - others[seed] for seed, value in values.items() if seed in others}
