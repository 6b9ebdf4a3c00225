"""Writes the table of equality: how far training on several devices is from training on one.

Usage: python -m tools.equality_table --output=results/equality.csv
Every case of tools/equality/cases.py is taken on one device, on 2 and 4 logical devices of this
machine, and by 2 and 3 worker processes, in float32 and in float64.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from std_keras import progress, quiet
from std_keras.config.option import RUN, Option
from std_keras.errors import InputError, Interrupted, MachineError
from std_keras.programs import flags, program
from std_keras.programs.launch import free_addresses
from std_keras.programs.program import StopRequest
from std_keras.runs import machine
from tools.equality import compare
from tools.equality.compare import Arrays

ROOT = Path(__file__).resolve().parent.parent

OPTIONS = {
    "output": Option(
        topic=RUN, help="The CSV file to write; a Markdown file is put beside it.", kind=str
    ),
    "work_dir": Option(
        topic=RUN,
        help="Folder that keeps what each process found; a second call takes it from there.",
        kind=str,
    ),
}
LOGICAL, WORKERS = (2, 4), (2, 3)
PLACES = (*(f"{n} logical devices" for n in LOGICAL), *(f"{n} workers" for n in WORKERS))
QUANTITIES = (
    ("gradients", "gradient"),
    ("gradients", "gradient, worst variable"),
    ("end", "state, worst variable"),
)
COLUMNS = ("case", "precision", "compared", *PLACES)
PROCESS = (sys.executable, "-m", "tools.equality.process")
_NOTES = """\
Each figure is a relative difference from one device, |a - b| / |a| in the 2-norm, with the same
seeds and the same global batch of 24.

- *gradient* is what the optimizers of the student and of the critics get in the first step, summed
  over all devices and clipped, as one vector.
- *gradient, worst variable* is the largest difference of any variable by itself: of a bias, say,
  whose sum nearly cancels. One that is nearly zero beside the others, below 1e-4 of the largest, is
  compared with the largest.
- *state, worst variable* is of everything that training changes, after 5 steps of plain gradient
  descent at a rate of 0.1, of 0.01 for the critics (one step for MINE's epoch schedule): weights,
  critics, BatchNorm's statistics, MINE's and the weights' moving averages.

The state of random numbers is exactly equal in every case, and so are the bits of all devices of
one training.
"""


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Runs everything, and writes both files."""
    parsed = flags.parse(
        arguments,
        program="python -m tools.equality_table",
        about=str(__doc__),
        options=OPTIONS,
        defaults={"output": None, "work_dir": None},
        required=("output",),
    )
    output = Path(parsed["output"])
    if output.suffix != ".csv":
        raise InputError(f"--output={output} must end in .csv")
    with contextlib.ExitStack() as stack:
        folder = parsed["work_dir"] or stack.enter_context(tempfile.TemporaryDirectory())
        Path(folder).mkdir(parents=True, exist_ok=True)
        rows = _rows(Path(folder), stop)
    output.parent.mkdir(parents=True, exist_ok=True)
    facts = machine.describe(ROOT)
    comments = [
        f"python -m tools.equality_table --output={output}",
        f"{facts['cores']} cores of {facts['processor']}; tensorflow {facts['tensorflow']}, "
        f"keras {facts['keras']}",
    ]
    with output.open("w", newline="") as file:
        file.writelines(f"# {comment}\n" for comment in comments)
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    output.with_suffix(".md").write_text(markdown(output), encoding="utf-8")


def read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Comments and rows of a written table."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line[2:] for line in lines if line.startswith("# ")]
    return comments, list(csv.DictReader(line for line in lines if not line.startswith("#")))


def markdown(path: Path) -> str:
    """The CSV file as a Markdown page."""
    (command, where), rows = read(path)
    table = [COLUMNS, ["---"] * 3 + ["---:"] * len(PLACES)]
    table += [[row[column] for column in COLUMNS] for row in rows]
    return "\n".join(
        [
            "# One device and several",
            "",
            f"Made from `{path.name}`, which was written by",
            "",
            f"    {command}",
            "",
            f"on {where}.",
            "",
            _NOTES,
            *(f"| {' | '.join(cells)} |" for cells in table),
            "",
        ]
    )


def _rows(folder: Path, stop: StopRequest) -> list[dict[str, str]]:
    by_count = {}
    for count in (1, *LOGICAL):  # In one process, groups of 2 and of 4 would not mix.
        progress.say(f"{count} logical device(s)")
        file = folder / f"logical_{count}.npz"
        if not file.exists():
            _run([_start(["--output", str(file), "--replicas", str(count)])], stop)
        by_count[count] = compare.read(file)
    logical = by_count[1]
    found = {f"{n} logical devices": by_count[n] for n in LOGICAL}
    for count in WORKERS:
        progress.say(f"{count} workers")
        found[f"{count} workers"] = _cluster(folder, count, stop)
    rows = []
    quiet.load_tensorflow()
    from tools.equality.cases import CASES

    for name, case in CASES.items():
        for precision in ("float32", "float64"):
            for kind, title in QUANTITIES:
                reference = logical[precision, name, 1]
                if not reference.get(kind):
                    continue
                row = {"case": case.title, "precision": precision, "compared": title}
                for place in PLACES:
                    other = found[place][precision, name, int(place.split()[0])]
                    check(reference, other, f"{name}, {place}")
                    if title == "gradient":
                        figure = compare.difference_of_all(reference[kind], other[kind])
                    else:
                        figure, _ = compare.largest_difference(reference[kind], other[kind])
                    row[place] = f"{figure:.1e}"
                rows.append(row)
                progress.say(" | ".join(row.values()))
    return rows


def check(reference: dict[str, Arrays], other: dict[str, Arrays], what: str) -> None:
    """That both started alike, and that no two devices of one training differ."""
    started, variable = compare.largest_difference(reference["start"], other["start"])
    if started:
        raise ValueError(f"{what}: {variable} starts with other values")
    apart = other["apart"][""]
    if apart.size:
        raise ValueError(f"{what}: the devices hold different bits of {apart[0]}")


def _cluster(
    folder: Path, count: int, stop: StopRequest
) -> dict[tuple[str, str, int], dict[str, Arrays]]:
    """What the first worker holds, once all are known to hold the same bits."""
    files = [folder / f"worker_{count}_{index}.npz" for index in range(count)]
    if not all(file.exists() for file in files):
        cluster = {"worker": free_addresses(count)}
        tasks = [{"cluster": cluster, "task": {"type": "worker", "index": i}} for i in range(count)]
        _run(
            [
                _start(["--output", str(file)], TF_CONFIG=json.dumps(task))
                for file, task in zip(files, tasks, strict=True)
            ],
            stop,
        )
    first, *others = (compare.read(file) for file in files)
    for place, kinds in first.items():
        for kind, arrays in kinds.items():
            for variable, value in arrays.items():
                for other in others:
                    if value.tobytes() != other[place][kind][variable].tobytes():
                        raise ValueError(f"{place}: workers hold different bits of {variable}")
    return first


def _start(arguments: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROCESS, *arguments],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(processes: Sequence[subprocess.Popen[str]], stop: StopRequest) -> None:
    said = [""] * len(processes)
    try:
        for index, process in enumerate(processes):
            said[index] = process.communicate()[1]
    finally:
        for process in processes:
            process.kill()
    if stop:
        raise Interrupted("interrupted; nothing was written")
    for process, text in zip(processes, said, strict=True):
        if process.returncode:
            raise MachineError(f"a process ended with {process.returncode}: {text[-2000:]}")


if __name__ == "__main__":
    program.console(main)
