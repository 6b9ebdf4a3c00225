"""What a benchmark leaves: a table to read, JSON, and rows of a CSV file that grows."""

from __future__ import annotations

import csv
import datetime
import fnmatch
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from std_keras.errors import InputError
from std_keras.runs.machine import accelerators, git_revision, processor
from std_keras.runs.run_directory import write_atomically

_ROOT = Path(__file__).resolve().parent.parent.parent
COLUMNS = ("date", "machine", "revision", "command", "figure", "value")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "name": _machine_name(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def text(result: Mapping[str, Any]) -> str:
    """The result as tables: rows of equal figures side by side, the rest as lines."""
    lines: list[str] = []
    for name, value in result.items():
        if isinstance(value, Mapping) and value and all(map(_is_row, value.values())):
            lines += ["", *_table(name, value), ""]
        elif isinstance(value, Mapping) and not value:
            continue
        elif isinstance(value, Mapping):
            lines += ["", name, *(f"  {key}: {_shown(v)}" for key, v in value.items()), ""]
        else:
            lines.append(f"{name}: {_shown(value)}")
    return "\n".join(lines).replace("\n\n\n", "\n\n").strip()


def write_json(path: str, result: Mapping[str, Any]) -> None:
    """Writes the whole result."""
    target = writable("json", path)
    write_atomically(target, json.dumps(result, indent=2) + "\n")


def append_csv(
    path: str, result: Mapping[str, Any], *, command: str, figures: Sequence[str]
) -> None:
    """Appends one row for each figure whose path matches one of the patterns.

    A path is the names that lead to a number, with slashes between.
    """
    target = writable("csv", path)
    new = not target.exists() or not target.stat().st_size
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    common = (date, _machine_name(), git_revision(_ROOT), command)
    with target.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        for name, value in numbers(result):
            if any(fnmatch.fnmatch(name, pattern) for pattern in figures):
                writer.writerow((*common, f"{result['benchmark']}/{name}", f"{value:.7g}"))


def check_csv(path: str) -> None:
    """Refuses a file that holds something else than rows of benchmarks."""
    target = writable("csv", path)
    try:
        text = target.read_text(encoding="utf-8") if target.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--csv={path} cannot be read as a table: {error}") from error
    if text and text.splitlines()[0] != ",".join(COLUMNS):
        raise InputError(f"--csv={path} is not a table of benchmarks; name another file")


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number in a result, with the names that lead to it."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from numbers(inner, f"{path}/{name}" if path else str(name))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, value


def _is_row(value: Any) -> bool:
    return isinstance(value, Mapping)


def _table(name: str, rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    flat = {row: dict(_leaves(values)) for row, values in rows.items()}
    columns = list(dict.fromkeys(key for values in flat.values() for key in values))
    columns = [c for c in columns if any(values.get(c) is not None for values in flat.values())]
    cells = [[name, *columns]]
    cells += [[row, *(_shown(values.get(c), c) for c in columns)] for row, values in flat.items()]
    heads = [part.split(" ") for part in (c.replace("_", " ") for c in cells[0])]
    depth = max(len(words) for words in heads)
    heads = [[""] * (depth - len(words)) + words for words in heads]
    # Narrow columns: one word of a name below the other.
    whole = [[words[i] for words in heads] for i in range(depth)] + cells[1:]
    widths = [max(len(row[i]) for row in whole) for i in range(len(cells[0]))]
    return [
        "  ".join(
            cell.ljust(width) if not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in whole
    ]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key} ")
        else:
            yield prefix + key, value


def _shown(value: Any, name: str = "") -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("bytes"):
        return f"{value / 2**20:,.0f} MiB"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def writable(flag: str, path: str) -> Path:
    """The file that a flag names, with its folder made.

    Raises:
        InputError: if it cannot be a file.
    """
    target = Path(path).expanduser()
    if target.is_dir():
        raise InputError(f"--{flag}={path} is a folder; name a file")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _machine_name() -> str:
    return " + ".join([f"{os.cpu_count()} x {processor()}", *accelerators()])
