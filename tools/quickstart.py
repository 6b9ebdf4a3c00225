"""Runs the whole road on the embedded digits and sums it up in one table.

It shows that every part works on this machine. It does not prove the method: on 8x8 digits every
network is accurate, and one run on 360 test images cannot tell two students apart.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tools import no_flags

ROOT = Path(__file__).resolve().parent.parent
QUANTIZATIONS = ("float32", "float16", "dynamic")


class StepError(Exception):
    """A program failed; the exit code is its own."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


def main() -> int:
    """Runs all steps; returns an exit code."""
    folder = ROOT / "runs" / "quickstart"
    summary_file = folder / "summary.json"
    if summary_file.exists():  # A finished quickstart starts afresh; a cut-off one goes on.
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    small, large = folder / "digits_resnet20", folder / "digits_resnet32"
    baseline, student = folder / "digits_mixer", folder / "digits_mixer_std"
    try:
        step("1/5 small teacher", "train", flags("digits_resnet20"), f"--model_dir={small}")
        step("2/5 large teacher", "train", flags("digits_resnet32"), f"--model_dir={large}")
        step(
            "3/5 baseline student, no teacher",
            "train",
            flags("digits_mixer"),
            f"--model_dir={baseline}",
        )
        step(
            "4/5 STD student of both teachers",
            "train",
            flags("digits_mixer_std"),
            f"--teacher={small},site=intermediate",
            f"--teacher={large},site=last",
            f"--model_dir={student}",
        )
        step(
            "5/5 export and check on the test images",
            "export",
            f"--model_dir={student}",
            f"--output_dir={folder / 'export'}",
            f"--quantization={','.join(QUANTIZATIONS)}",
        )
    except StepError as error:
        print("quickstart stopped; run it again to go on from here", file=sys.stderr)
        return error.code
    summary = summarize(folder, seconds=time.monotonic() - began)
    summary_file.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(table(summary))
    print()
    print(f"written to {summary_file.relative_to(ROOT)}")
    print(f"files to ship: {folder.relative_to(ROOT) / 'export'}")
    return 0


def flags(name: str) -> str:
    """The argument that names a shipped flag file."""
    return f"--flagfile={ROOT / 'flags' / name}.flags"


def step(what: str, program: str, *arguments: str) -> None:
    """Runs one program of the project, its progress on the terminal, its tables dropped."""
    print(f"\n== {what}", flush=True)
    command = [sys.executable, "-m", "std_keras", program, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            continue  # The program got the signal too; it saves and ends by itself.
    if code:
        raise StepError(code if code > 0 else 128 - code)


def summarize(folder: Path, *, seconds: float) -> dict[str, Any]:
    """Gathers the figures that the steps wrote."""

    def read(*parts: str) -> dict[str, Any]:
        return json.loads(folder.joinpath(*parts).read_text(encoding="utf-8"))

    student = read("digits_mixer_std", "result.json")
    files = read("export", "report.json")["tflite"]
    return {
        "teachers": [
            {"name": name, "top1": read(name, "result.json")["top1"]}
            for name in ("digits_resnet20", "digits_resnet32")
        ],
        "baseline": {"top1": read("digits_mixer", "result.json")["top1"]},
        "student": {"top1": student["top1"], "parameters": student["parameters"]},
        "tflite": {
            name: {key: files[name][key] for key in ("top1", "bytes", "latency_ms")}
            for name in QUANTIZATIONS
        },
        "seconds": round(seconds, 1),
    }


def table(summary: dict[str, Any]) -> str:
    """The summary for a person."""
    rows = [("", "top-1", "size", "latency, 1 thread")]
    for teacher in summary["teachers"]:
        rows.append((f"teacher {teacher['name']}", f"{teacher['top1']:.2%}", "", ""))
    rows.append(("baseline (no teacher)", f"{summary['baseline']['top1']:.2%}", "", ""))
    student = summary["student"]
    rows.append(("STD student", f"{student['top1']:.2%}", f"{student['parameters']:,} weights", ""))
    for name, file in summary["tflite"].items():
        size, latency = f"{file['bytes'] / 1e6:.2f} MB", f"{file['latency_ms']:.2f} ms"
        rows.append((f"  TFLite {name}", f"{file['top1']:.2%}", size, latency))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines += [
        "",
        f"{summary['seconds']:.0f} s. A check of the whole road, not a proof of the method:",
        "one run on 360 small test images cannot tell two students apart.",
    ]
    return "\n" + "\n".join(lines)


if __name__ == "__main__":
    no_flags.read(__doc__, program="tools/quickstart.sh")
    # Progress bars of the programs are drawn on this terminal.
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
