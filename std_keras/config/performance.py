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
        "tf.distribute strategy: how to spread the work over devices.",
        choices=("auto", "one_device", "mirrored", "multi_worker", "tpu"),
        shapes_result=False,
    )
    logical_cpus: int = option_field(
        0,
        int,
        "Split the CPU into this many logical devices, for testing --strategy=mirrored without "
        "GPUs; 0 for no split.",
        shapes_result=False,
        **NATURAL,
    )
    cluster_wait_seconds: float = option_field(
        300.0,
        float,
        "Seconds to wait for the other processes of a cluster at the start; 0 for as long as it "
        "takes.",
        shapes_result=False,
        **NATURAL,
    )
    mixed_precision: bool = option_field(
        False,
        bool,
        "Compute in bfloat16 and keep weights in float32, for Keras teachers too. For GPUs, and "
        "for CPUs with AVX-512 bf16 or AMX (there without --jit_compile).",
        shapes_result=False,
    )
    jit_compile: bool = option_field(
        False, bool, "Compile the training step with XLA.", shapes_result=False
    )
    rematerialize: bool = option_field(
        False,
        bool,
        "Gradient checkpointing: store only the inputs of blocks and token sets and recompute the "
        "rest for the gradient. Less memory, about a third more arithmetic.",
        shapes_result=False,
    )
    steps_per_call: int = option_field(
        10,
        int,
        "Training steps per call; on a GPU metrics are fetched once a call.",
        shapes_result=False,
        **COUNT,
    )
    evaluation_batch_size: int | None = option_field(
        None,
        int,
        "Batch size of evaluation; --batch_size if not given.",
        shapes_result=False,
        **COUNT,
    )
