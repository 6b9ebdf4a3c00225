"""The contents of `report.json`, the table on the screen, and which files are rejected."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from std_keras.exporting.flatbuffer import count_ops
from std_keras.exporting.layer_sensitivity import LayerError
from std_keras.exporting.recommend import AS_FAST, counts_as_equal, recommended
from std_keras.exporting.verify import balanced_accuracy, largest_difference, top1


@dataclass(frozen=True)
class FileReport:
    """The metrics of one exported file.

    Attributes:
        file: its name in the output directory.
        bytes: its size.
        ops: operators by name, most frequent first.
        num_ops: all of them.
        input_type: "uint8" or "float32".
        top1: fraction of the examples that it classifies rightly.
        accuracy_drop: top-1 of the Keras model on the same examples, less that of the file.
        max_logit_difference: to the Keras model, over all examples and classes; None if the file
            returned something that is not finite.
        latency_ms: median of single inferences on one thread, after a warm-up.
        latency_ms_2_threads: the same on two, or None if it was not measured.
        cold_start_ms: from the file in memory to its first answer on one thread, in a new process;
            None if it was not measured. See `std_keras.exporting.cold_start`.
        balanced_accuracy: the mean of the classes' own top-1; None in reports of older versions.
        xnnpack_partitions: parts that XNNPACK runs; 1 if nothing between them is left to others.
        refused: why the file is not fit for use, or None.
        layer_errors: of a refused file that is quantised, what each layer alone costs, the worst
            first; see `std_keras.exporting.layer_sensitivity`.
    """

    file: str
    bytes: int
    ops: dict[str, int]
    num_ops: int
    input_type: str
    top1: float
    accuracy_drop: float
    max_logit_difference: float | None
    latency_ms: float
    latency_ms_2_threads: float | None = None
    cold_start_ms: float | None = None
    balanced_accuracy: float | None = None
    xnnpack_partitions: int | None = None
    refused: str | None = None
    layer_errors: tuple[LayerError, ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The metrics by name."""
        return asdict(self)


def judge(
    name: str,
    content: bytes,
    *,
    logits: np.ndarray,
    latency_ms: float,
    input_type: str,
    reference: np.ndarray,
    labels: np.ndarray,
    max_accuracy_drop: float | None = None,
    latency_ms_2_threads: float | None = None,
    cold_start_ms: float | None = None,
    xnnpack_partitions: int | None = None,
) -> FileReport:
    """Compares the logits of a file with those of the Keras model.

    Args:
        name: the file's name, NAME.tflite; a refused one is called NAME.rejected.tflite.
        content: the file.
        logits: of the file, (n, num_classes).
        latency_ms: see `FileReport`.
        input_type: likewise.
        reference: logits of the Keras model, of the same images.
        labels: (n,).
        max_accuracy_drop: the largest drop of top-1, as a fraction, that is accepted; None for any.
        latency_ms_2_threads: see `FileReport`.
        cold_start_ms: likewise.
        xnnpack_partitions: likewise.
    """
    difference = largest_difference(logits, reference)
    accuracy = top1(logits, labels)
    drop = top1(reference, labels) - accuracy
    refused = None
    if difference is None:
        refused = "it returns non-finite values"
    # Fractions of whole examples: a difference of rounding must not refuse a file.
    elif max_accuracy_drop is not None and drop > max_accuracy_drop + 1e-9:
        refused = (
            f"its top-1 is {drop:.4f} below the Keras model's, more than "
            f"max_accuracy_drop={max_accuracy_drop:g}"
        )
    ops = count_ops(content)
    return FileReport(
        file=name if refused is None else f"{name.removesuffix('.tflite')}.rejected.tflite",
        bytes=len(content),
        ops=ops,
        num_ops=sum(ops.values()),
        input_type=input_type,
        top1=accuracy,
        accuracy_drop=drop,
        max_logit_difference=difference,
        latency_ms=latency_ms,
        latency_ms_2_threads=latency_ms_2_threads,
        cold_start_ms=cold_start_ms,
        balanced_accuracy=balanced_accuracy(logits, labels),
        xnnpack_partitions=xnnpack_partitions,
        refused=refused,
    )


def machine() -> dict[str, Any]:
    """What the latencies were measured on."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": 1,
        "runtime": f"ai-edge-litert {version('ai-edge-litert')}",
    }


def recommended_quantization(rows: Mapping[str, FileReport], *, examples: int) -> str | None:
    """The file to ship, by its quantization; see `std_keras.exporting.recommend`."""
    accepted = {name: row for name, row in rows.items() if row.refused is None}
    best = recommended(accepted.values(), examples=examples)
    return next((name for name, row in accepted.items() if row is best), None)


def table(rows: Mapping[str, FileReport], *, keras_top1: float, examples: int, cpu: str) -> str:
    """A table for a terminal: one line per quantization, and the hardware it was measured on."""
    header = (
        "file",
        "bytes",
        "ops",
        "top-1",
        "drop",
        "max logit diff.",
        "ms",
        "2 threads",
        "start",
    )
    lines = [("Keras model", "", "", f"{keras_top1:.4f}", *[""] * 5)]
    for row in rows.values():
        difference = row.max_logit_difference
        lines.append(
            (
                row.file,
                f"{row.bytes:,}",
                str(row.num_ops),
                f"{row.top1:.4f}",
                f"{row.accuracy_drop:+.4f}",
                "not finite" if difference is None else f"{difference:.2e}",
                f"{row.latency_ms:.3f}",
                milliseconds(row.latency_ms_2_threads),
                milliseconds(row.cold_start_ms),
            )
        )
    text = [
        *aligned([header, *lines]),
        f"{examples} test images; ms: median of single inferences, 1 thread, {cpu}; start: from "
        "the file in memory to its first answer in a new process",
    ]
    chosen = recommended_quantization(rows, examples=examples)
    if chosen is not None:
        text.append(
            f"recommended: {rows[chosen].file}, by the measurements above (of the files within "
            f"{100 * counts_as_equal(examples):.3g} points of the best top-1 the fastest on one "
            f"thread; up to {AS_FAST - 1:.0%} slower, the smallest)"
        )
    return "\n".join(text)


def milliseconds(value: float | None) -> str:
    """A time as tables show it; nothing if it was not measured."""
    return "" if value is None else f"{value:.3f}"


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of cells as text: the first column to the left, the others to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # Not Linux.
    return platform.processor() or platform.machine()
