"""The CSV file of a sweep: one row for each run, with everything that is needed to trust it."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from std_keras.errors import InputError
from std_keras.files.texts import read_text
from std_keras.research.sweeps import record
from std_keras.research.sweeps.metrics import result_of
from std_keras.research.sweeps.plan import Run, arguments_of
from std_keras.runs.run_directory import RunDirectory, write_atomically

Row = dict[str, str]
_FIRST = ("arm", "seed", "state", "split", "top1", "top5")
_HEADS = ("classification", "distillation", "average", "confidence")
_COST = ("teachers", "parameters", "macs", "steps", "epochs")
_TIME = ("train_seconds", "seconds", "images_per_second", "teacher_predictions", "precision")
_MACHINE = ("git_revision", "processor", "cores", "accelerator", "tensorflow", "keras", "python")
_LAST = ("flags", "error")


def read(path: Path) -> list[Row]:
    """The rows of a CSV file that a sweep wrote; empty if the file does not exist.

    Raises:
        InputError: if it is something else.
    """
    if not path.exists():
        return []
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    if not rows or any(not {*_FIRST, *_LAST} <= {*row} or None in row for row in rows):
        raise InputError(f"{path} is not the table of a sweep; choose another --output")
    return rows


def row_of(run: Run) -> Row | None:
    """The row of a run that is finished or has failed; None for any other.

    Raises:
        InputError: if the run directory or the record is damaged.
    """
    known = record.read(run)
    row = {"arm": run.arm, "seed": str(run.seed), "flags": run.flags, "error": ""}
    row["teachers"] = " ".join(run.teachers)
    if known is not None:
        row |= known.machine
        row["seconds"] = f"{known.seconds:.0f}"
    if not record.is_finished(run):
        if known is None or known.state != "failed":
            return None
        return {**row, "state": f"failed ({known.exit_code})", "error": known.error}
    config = RunDirectory(run.model_dir).read_config()
    if run.is_teacher:  # Trained by hand or by an earlier sweep, maybe with other flags.
        row["flags"] = shlex.join(arguments_of(config, shaping=True))
    result = result_of(run)
    row |= {
        "state": "done",
        "split": result["split"],
        "top1": _number(result["top1"], digits=4),
        "top5": _number(result["top5"], digits=4),
        "train_seconds": _number(result["train_seconds"], digits=0),
        "images_per_second": _number(result["images_per_second"], digits=1),
        "teacher_predictions": result.get("teacher_predictions", ""),
        "precision": "bfloat16" if config.performance.mixed_precision else "float32",
    }
    row |= {name: str(result[name]) for name in ("parameters", "steps", "epochs")}
    row["macs"] = str(result.get("macs", ""))
    for head, metrics in result["heads"].items():
        row[f"{head}_top1"] = f"{metrics['top1']:.4f}"
    return row


def _number(value: float | None, *, digits: int) -> str:
    """Empty for what is not known: converted weights were not trained here."""
    return "" if value is None else f"{value:.{digits}f}"


def with_differing_options(rows: Sequence[Row]) -> list[Row]:
    """Adds a column `--NAME` for every flag that is not the same in all arms."""
    flags = [flags_by_name(row["flags"]) for row in rows]
    students = [
        (row["arm"], row["seed"], f)
        for f, row in zip(flags, rows, strict=True)
        if not row["arm"].startswith("teacher-")
    ]
    names = sorted({name for _, _, f in students for name in f} - {"seed"})
    differing = [name for name in names if _tells_arms_apart(students, name)]
    clean = [{k: v for k, v in row.items() if not k.startswith("--")} for row in rows]
    return [
        row | {f"--{n}": of_row.get(n, "") for n in differing}
        for row, of_row in zip(clean, flags, strict=True)
    ]


def _tells_arms_apart(students: Sequence[tuple[str, str, Mapping[str, str]]], name: str) -> bool:
    """Whether a flag differs between arms, and not only from seed to seed."""
    of_arm: dict[str, set[str]] = {}
    of_seed: dict[str, set[str]] = {}
    for arm, seed, flags in students:
        of_arm.setdefault(arm, set()).add(flags.get(name, ""))
        of_seed.setdefault(seed, set()).add(flags.get(name, ""))
    differs_within_a_seed = any(len(values) > 1 for values in of_seed.values())
    is_one_value_an_arm = all(len(values) == 1 for values in of_arm.values())
    return differs_within_a_seed or (is_one_value_an_arm and len(set().union(*of_arm.values())) > 1)


def write(path: Path, rows: Sequence[Row], *, command: str) -> None:
    """Writes the table, headed by the command that made it."""
    columns = _columns(rows)
    text = io.StringIO()
    text.write(f"# {command}\n")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue())


def _columns(rows: Sequence[Row]) -> list[str]:
    present = {name for row in rows for name in row}
    heads = [f"{head}_top1" for head in _HEADS]
    heads += sorted(n for n in present if n.endswith("_top1") and n not in heads)
    flags = sorted(n for n in present if n.startswith("--"))
    order = (*_FIRST, *heads, *_COST, *_TIME, *flags, *_MACHINE, *_LAST)
    return [n for n in order if n in present or n in (*_FIRST, *_LAST)]


def flags_by_name(flags: str) -> Mapping[str, str]:
    """The flags of a row; repeated ones joined."""
    found: dict[str, str] = {}
    for flag in shlex.split(flags):
        name, equals, value = flag.removeprefix("--").partition("=")
        if not equals:
            name, value = (name[2:], "no") if name.startswith("no") else (name, "yes")
        found[name] = f"{found[name]} {value}" if name in found else value
    return found
