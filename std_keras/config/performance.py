"""Devices, precision and compilation: what changes speed, not the method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from std_keras.config.option import (
    COUNT,
    NATURAL,
    PERFORMANCE,
    OptionGroup,
    option_field,
)


@dataclass(frozen=True, kw_only=True)
class PerformanceOptions(OptionGroup):
    """What changes speed, not the method; `--help` explains each field."""

    topic: ClassVar[str] = PERFORMANCE

    strategy: str = option_field(
        "auto",
        str,
        "How to spread the work over devices.",
        choices=("auto", "one_device", "mirrored", "multi_worker", "tpu"),
        shapes_result=False,
    )
    logical_cpus: int = option_field(
        0,
        int,
        "Split the CPU into this many logical devices, to try --strategy=mirrored without GPUs.",
        shapes_result=False,
        **NATURAL,
    )
    mixed_precision: bool = option_field(
        False,
        bool,
        "Compute in bfloat16, keep weights in float32; Keras teachers too. For GPUs, and for CPUs "
        "that have units for it (AMX), there without --jit_compile.",
        shapes_result=False,
    )
    jit_compile: bool = option_field(
        False, bool, "Compile the training step with XLA.", shapes_result=False
    )
    rematerialize: bool = option_field(
        False,
        bool,
        "Keep only what enters each block and token set, and compute what is inside again for the "
        "gradient: less memory, about a third more arithmetic.",
        shapes_result=False,
    )
    steps_per_call: int = option_field(
        10,
        int,
        "Steps per call from Python into TensorFlow.",
        shapes_result=False,
        **COUNT,
    )
    evaluation_batch_size: int | None = option_field(
        None,
        int,
        "Batch of the evaluation; the training batch if not given.",
        shapes_result=False,
        **COUNT,
    )
