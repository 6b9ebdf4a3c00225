"""Measures what one can make of one's own photographs, and writes the table that says what to ship.

Usage: python -m tools.own_images_table --photos=photos --backbone=SOURCE --model_dir=runs/table
           --output=results/own_images.md [--start=std_keras:NAME]
Trains, each once: a teacher of the backbone (a linear head on its features); a student of it, and
one without a teacher, by `own_images.flags`; a linear head on the features of the student's start;
MobileNetV2 from scratch by `fit`, twice. Then `compare` measures all of them in the same way. What
is finished is not made again.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import std_keras
from std_keras import progress
from std_keras.config.option import DATA, MODEL, RUN, Option
from std_keras.errors import InputError
from std_keras.programs import flags, program
from std_keras.programs.program import StopRequest
from std_keras.runs.run_directory import write_atomically

if TYPE_CHECKING:
    from std_keras.research.analysis.shipping import Candidate, Comparison

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = {
    "photos": Option(topic=DATA, help="Folder with train/CLASS/ and val/CLASS/.", kind=str),
    "backbone": Option(
        topic=MODEL,
        help="The trained network, SOURCE[,input=...], as of std-keras teach.",
        kind=str,
    ),
    "start": Option(topic=MODEL, help="What the students start from.", kind=str),
    "model_dir": Option(topic=RUN, help="Folder of all runs.", kind=str),
    "output": Option(topic=RUN, help="The Markdown file to write.", kind=str),
}
DEFAULTS = {
    "start": "std_keras:tinyimagenet_cpu_student",
    "model_dir": "runs/table",
    "output": "results/own_images.md",
}
MOBILENETS = {"mobilenet_035_96": (0.35, 96), "mobilenet_100_64": (1.0, 64)}
WHAT = {
    "teacher": "linear head on the features of {backbone}",
    "student": "student of that teacher, from {start}",
    "plain": "the same student without a teacher",
    "head_alone": "linear head on the features of {start}",
    "mobilenet_035_96": "MobileNetV2, width 0.35, 96 pixels, from scratch by `fit`",
    "mobilenet_100_64": "MobileNetV2, width 1, 64 pixels, from scratch by `fit`",
}
_TITLES = ("what", "kind of file", "top-1, %", "balanced, %", "MB", "ms, 1 thread", "ms, 2 threads")


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Makes what is missing, compares, and writes the table."""
    parsed = flags.parse(
        arguments,
        program="python -m tools.own_images_table",
        about=str(__doc__),
        options=OPTIONS,
        defaults=DEFAULTS,
        required=("photos", "backbone"),
    )
    runs = Path(parsed["model_dir"])
    for command, made in steps(parsed, runs):
        if stop:
            return
        if not made.is_file():
            progress.say(" ".join(command))
            if subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode:
                raise InputError(f"{' '.join(command)} failed")
    files = [f"{runs / name / name}.keras,input=byte" for name in MOBILENETS]
    found = std_keras.compare(
        [*(runs / name for name in ("teacher", "student", "plain", "head_alone")), *files],
        output_dir=runs / "compare",
        stop=lambda: bool(stop),
    )
    print(found.table(), flush=True)
    write_atomically(
        Path(parsed["output"]),
        page(
            found,
            command="python -m tools.own_images_table",
            backbone=parsed["backbone"],
            start=parsed["start"],
        ),
    )


def steps(parsed: dict[str, str], runs: Path) -> list[tuple[list[str], Path]]:
    """The commands, each with the file that is there once it is finished."""
    data = f"--dataset=folder:{parsed['photos']}"
    train = [
        "std_keras",
        "train",
        "--flagfile=own_images.flags",
        f"--initialize_from={parsed['start']}",
        data,
    ]
    taught = [f"--teacher={runs / 'teacher'}", "--augmentation_views=10"]
    cache = f"--teacher_cache={runs / 'predictions'}"
    made = [
        (["std_keras", "teach", f"--backbone={parsed['backbone']}", data], "teacher"),
        ([*train, *taught, cache], "student"),
        (train, "plain"),
        (["std_keras", "teach", f"--backbone={parsed['start']}", data], "head_alone"),
    ]
    found = [
        ([*command, f"--model_dir={runs / name}"], runs / name / "result.json")
        for command, name in made
    ]
    for name, (alpha, size) in MOBILENETS.items():
        file = runs / name / f"{name}.keras"
        command = [
            "tools.mobilenet_from_scratch",
            f"--photos={parsed['photos']}",
            f"--output={file}",
            f"--alpha={alpha:g}",
            f"--image_size={size}",
        ]
        found.append((command, file))
    return found


def page(found: Comparison, *, command: str, backbone: str, start: str) -> str:
    """The table as Markdown, with the file of each network that `export` recommends.

    Args:
        found: the comparison; its runs are those of `WHAT`.
        command: by which it is made, without options.
        backbone: of the teacher.
        start: of the students.
    """
    from std_keras.exporting.recommend import recommended

    lines = [
        "# Which file of your own photographs to ship",
        "",
        f"Made by `{command} --backbone={backbone} --start={start}` on {found.machine['cpu']}.",
        "",
        f"| {' | '.join(_TITLES)} |",
        "| --- | --- |" + " ---: |" * 5,
    ]
    best = None
    for run in dict.fromkeys(file.run for file in found.files):
        file = recommended([f for f in found.files if f.run == run], examples=found.examples)
        assert file is not None
        best = file if best is None or file.top1 > best.top1 else best
        what = WHAT[run].format(backbone=f"`{backbone}`", start=f"`{start}`")
        lines.append(f"| {' | '.join((what, *_cells(file)))} |")
    assert best is not None
    return "\n".join(
        [
            *lines,
            "",
            f"Of each network the file that `export` recommends; {found.footnote()}.",
            "",
            f"The most accurate is {best.name}. {found.verdict()}",
            "",
        ]
    )


def _cells(file: Candidate) -> tuple[str, ...]:
    return (
        file.quantization,
        f"{100 * file.top1:.1f}",
        f"{100 * file.balanced_accuracy:.1f}",
        f"{file.megabytes:.2f}",
        f"{file.latency_ms:.2f}",
        f"{file.latency_ms_2_threads:.2f}",
    )


if __name__ == "__main__":
    program.console(main)
