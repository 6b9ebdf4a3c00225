"""Writes a table of all models: size, cost, what others print, distance from PyTorch.

Usage: python -m tools.model_table --output=results/models.csv [--only=NAME,NAME]
"""

from __future__ import annotations

import csv
import dataclasses
import gc
import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from std_keras import progress, quiet
from std_keras.config.option import MODEL, RUN, Option
from std_keras.errors import InputError, Interrupted
from std_keras.programs import flags, program
from std_keras.programs.program import StopRequest
from tools.published_models import PUBLISHED, PUBLISHED_STUDENTS, Published

_OPTIONS = {
    "output": Option(
        topic=RUN, help="The CSV file to write; a Markdown file is put beside it.", kind=str
    ),
    "only": Option(topic=MODEL, help="Names of models, separated by commas; or all.", kind=str),
}
_SITES = ("intermediate", "last")
_WITHOUT_ORACLE = (
    "no code of this form is public; a Mixer with one token set is compared with the PyTorch "
    "reproduction by tests/weights/test_layouts.py"
)
_TITLES = {
    "name": "model",
    "image_size": "pixels",
    "num_classes": "classes",
    "parameters": "trainable parameters",
    "published_parameters": "published, millions",
    "gmacs": "GMACs",
    "published_gmacs": "published GMACs",
    "published_source": "published in",
    "parity_error": "parity error",
    "parity_reference": "compared with",
}
_NUMBERS = (*tuple(_TITLES)[1:7], "parity_error")
_NOTES = """\
- GMACs: multiply-accumulates of one image, counted in the traced graph by
  `std_keras.models.multiply_accumulates`; its docstring says what counts. Published figures that
  count norms too are up to 1 % higher.
- Parity error: largest absolute difference of any logit from a PyTorch implementation with the same
  random weights, both at full size, in float32, over two random images. The heads are scaled so
  that the logits have a standard deviation of 1. The weights pass through the name maps that
  `std-keras convert` reads files with.
- "+ 2 token sets": a student of two teachers, one at the intermediate and one at the last site.
"""


@dataclass(frozen=True)
class Row:
    """One model; numbers as text, empty where there is none."""

    name: str
    image_size: str
    num_classes: str
    parameters: str
    published_parameters: str
    gmacs: str
    published_gmacs: str
    published_source: str
    parity_error: str
    parity_reference: str


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, makes the rows one by one, and writes both files."""
    parsed = flags.parse(
        arguments,
        program="python -m tools.model_table",
        about="Writes a table of all models as CSV and Markdown.",
        options=_OPTIONS,
        defaults={},
        required=("output",),
    )
    output = Path(parsed["output"])
    if output.suffix != ".csv":
        raise InputError(f"--output={output} must end in .csv")
    quiet.load_tensorflow()
    from std_keras import models

    names = parsed["only"].split(",") if parsed["only"] else list(models.names())
    for name in names:
        models.registry.resolve(name)  # Refuses an unknown one before any work is done.
    rows = []
    for name in names:
        for student in (False, True)[: 1 + (name in PUBLISHED_STUDENTS)]:
            if stop:
                raise Interrupted("interrupted; nothing was written")
            rows.append(_row(name, student=student))
            progress.say(" | ".join(dataclasses.astuple(rows[-1])))
    output.parent.mkdir(parents=True, exist_ok=True)
    _write(
        output, rows, comments=[f"python -m tools.model_table {' '.join(arguments)}", _machine()]
    )
    output.with_suffix(".md").write_text(markdown(output))


def markdown(path: Path) -> str:
    """The CSV file as a Markdown page."""
    lines = path.read_text().splitlines()
    comments = [line[2:] for line in lines if line.startswith("# ")]
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    table = [
        _line(_TITLES.values()),
        _line("---:" if column in _NUMBERS else "---" for column in _TITLES),
        *(_line(_shown(column, row[column]) for column in _TITLES) for row in rows),
    ]
    return "\n".join(
        [
            "# The models",
            "",
            f"Made from `{path.name}`, which was written by",
            "",
            *_origins(comments),
            "",
            _NOTES,
            *table,
            "",
        ]
    )


def _origins(comments: Sequence[str]) -> list[str]:
    """Commands and machines; rows of a later run stand behind the others, and its two lines too."""
    lines: list[str] = []
    for command, machine in zip(comments[::2], comments[1::2], strict=True):
        if lines:
            lines[-1] = lines[-1].removesuffix(".") + ", and the last rows by"
            lines.append("")
        lines += [f"    {command}", "", f"on {machine}."]
    return lines


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(column: str, text: str) -> str:
    return f"{int(text):,}" if column == "parameters" else text


def _row(name: str, *, student: bool) -> Row:
    import keras

    from std_keras import models
    from tools import torch_parity

    small = name.startswith(("cifar", "resnet8x4", "resnet32x4", "wrn", "airbench"))
    size, num_classes = (32, 10) if small else (224, 1000)
    image: dict[str, Any] = {"input_shape": (size, size, 3), "num_classes": num_classes}
    # Without values, so that the largest models cost no memory here.
    with keras.StatelessScope(initialize_variables=False):
        if student:
            model = models.create_student(name, **image, teacher_sites=_SITES)
        else:
            model = models.create(name, **image)
        macs = models.multiply_accumulates(model)
        parameters = models.trainable_parameters(model)
    del model
    keras.utils.clear_session()
    error, reference = "", _WITHOUT_ORACLE
    if not student:
        try:
            parity = torch_parity.compare(name, **image)
            error, reference = f"{parity.error:.1e}", parity.reference
        except torch_parity.UnavailableError as reason:
            reference = f"not compared: {reason}"
        keras.utils.clear_session()
        gc.collect()
    published = (PUBLISHED_STUDENTS if student else PUBLISHED).get(name, Published("", "", ""))
    return Row(
        name=f"{name} + 2 token sets" if student else name,
        image_size=str(size),
        num_classes=str(num_classes),
        parameters=str(parameters),
        published_parameters=published.parameters,
        gmacs=f"{macs / 1e9:.5g}",
        published_gmacs=published.gmacs,
        published_source=published.source,
        parity_error=error,
        parity_reference=reference,
    )


def _write(path: Path, rows: Sequence[Row], *, comments: Sequence[str]) -> None:
    with path.open("w", newline="") as file:
        file.writelines(f"# {comment}\n" for comment in comments)
        writer = csv.DictWriter(file, tuple(_TITLES), lineterminator="\n")
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)


def _machine() -> str:
    """Processor and versions, in one line."""
    processor = platform.processor() or platform.machine()
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        found = [line for line in cpu_info.read_text().splitlines() if "model name" in line]
        processor = found[0].split(":", 1)[1].strip() if found else processor
    versions = [f"Python {platform.python_version()}"]
    for package in ("tensorflow", "keras", "torch", "timm"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    return f"{processor}, {os.cpu_count()} cores; {', '.join(versions)}"


if __name__ == "__main__":
    sys.exit(program.run(main))
