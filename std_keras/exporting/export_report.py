"""What an export found, as a value: `report.json` and the table on the screen are made from it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from std_keras.errors import LimitError
from std_keras.exporting import report
from std_keras.exporting.layer_sensitivity import short_table
from std_keras.exporting.report import FileReport


@dataclass(frozen=True)
class ExportReport:
    """One export of a run's model.

    Attributes:
        output_dir: where the files are.
        model_dir: the run directory.
        model: the model's name.
        head: the head that was exported.
        weights: "ema" or "raw".
        dataset: what the accuracies were measured on.
        split: the part of it, "test".
        examples: how many of its images.
        split_from: where that part comes from, for example "val/".
        weights_sha256: of `model.keras`, if that is what was exported, else None.
        input_type: of the TFLite files, "uint8" or "float32".
        machine: what the latencies were measured on.
        keras: `top1` and `parameters` of the Keras model.
        saved_model: `bytes`, `top1` and `max_logit_difference` of the SavedModel.
        tflite: what was found about each TFLite file, by quantization.
    """

    output_dir: Path
    model_dir: str
    model: str
    head: str
    weights: str
    dataset: str
    split: str
    examples: int
    input_type: str
    machine: dict[str, Any]
    keras: dict[str, Any]
    saved_model: dict[str, Any]
    tflite: dict[str, FileReport] = dataclasses.field(default_factory=dict)
    split_from: str = ""
    weights_sha256: str | None = None

    @property
    def recommended(self) -> str | None:
        """The quantization of the file to ship, by what was measured; None if all are rejected."""
        return report.recommended_quantization(self.tflite, examples=self.examples)

    def as_dict(self) -> dict[str, Any]:
        """What `report.json` holds."""
        values = {name: value for name, value in vars(self).items() if name != "output_dir"}
        return {
            **values,
            "recommended": self.recommended,
            "tflite": {name: row.as_dict() for name, row in self.tflite.items()},
        }

    def file(self, quantization: str) -> Path:
        """Where the TFLite file of a quantization is, accepted or rejected."""
        return self.output_dir / self.tflite[quantization].file

    def table(self) -> str:
        """A table for a terminal, with the worst layers of files that were rejected."""
        lines = [
            report.table(
                self.tflite,
                keras_top1=self.keras["top1"],
                examples=self.examples,
                cpu=self.machine["cpu"],
            )
        ]
        for row in self.tflite.values():
            if row.layer_errors:
                lines.append(f"{row.file}, each layer quantised alone, the worst:")
                lines.append(short_table(row.layer_errors))
        return "\n".join(lines)

    def check(self) -> None:
        """Raises ExportRefusedError if a file was rejected."""
        refusals = [
            f"{row.file}: {row.refused}{_costliest_layer(row)}"
            for row in self.tflite.values()
            if row.refused
        ]
        if refusals:
            raise ExportRefusedError("rejected " + "; ".join(refusals), self)


class ExportRefusedError(LimitError):
    """A file was rejected, because of the limit that was set or because it returns NaN.

    Attributes:
        report: of all files; they are written.
    """

    def __init__(self, message: str, report: ExportReport) -> None:
        super().__init__(message)
        self.report = report


def _costliest_layer(row: FileReport) -> str:
    if not row.layer_errors:
        return ""
    worst = row.layer_errors[0]
    return f" (quantised alone, {worst.layer} costs most: {worst.accuracy_drop:+.4f} of top-1)"
