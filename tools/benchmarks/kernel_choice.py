"""Measures a model with oneDNN's kernels and with TensorFlow's own, each in processes of its own.

Takes the flags of a training. Measured are a training step (with its teachers, if --teacher is
given), a batch and one image in inference, as an evaluation computes them, and a batch of the same
model as a teacher predicts: folded, and in bfloat16 with --mixed_precision. Images are random.

"own / oneDNN" is the time of TensorFlow's kernels over that of oneDNN's; above 1 oneDNN is faster.
Processor seconds are those of all threads, and say more than seconds on a busy machine.

ONEDNN_MAX_CPU_ISA=AVX2 before the command keeps oneDNN, and it alone, from newer instructions: an
imitation of an older processor. Results of both kernels differ in their last digits.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from std_keras.config import TrainConfig, options
from std_keras.config.option import Option
from std_keras.kernels import CHOICE
from tools.benchmarks import train_step
from tools.benchmarks.turns import Job, Processes

_TOPIC = "Kernel benchmark"
WORK = ("step", "batch", "image", "teacher")
_KERNELS = {"oneDNN": "1", "own": "0"}
OPTIONS = {
    "work": Option(
        topic=_TOPIC, help=f"What is measured, separated by commas: {', '.join(WORK)}.", kind=str
    ),
    **{
        name: dataclasses.replace(train_step.OPTIONS[name], topic=_TOPIC)
        for name in ("rounds", "seconds")
    },
    **options(),
}
DEFAULTS = {
    "work": ",".join(WORK),
    **{k: v for k, v in train_step.DEFAULTS.items() if k in OPTIONS},
}
# Of the results, those that results/benchmarks.csv keeps.
FIGURES = ("variants/*/seconds/*", "variants/*/cpu_seconds/*", "own over oneDNN/*/*")


def run(*, work: str, rounds: int, seconds: float, **flags: Any) -> dict[str, Any]:
    """The figures; see the module's text and `OPTIONS`."""
    train_step.check_turns(rounds, seconds)
    kinds = train_step.chosen("work", work, WORK)
    config = TrainConfig(**flags)
    figures: dict[str, dict[str, Any]] = {}
    for kind in kinds:  # One after the other: what waits for its turn holds memory.
        with Processes() as processes:
            for kernels, value in _KERNELS.items():
                maker, wanted = _job(kind, config)
                environment = {CHOICE: value}
                processes.start(Job(f"{kind}, {kernels}", maker, wanted, environment))
            processes.take_turns(rounds=rounds, seconds=seconds)
            figures |= processes.figures()
    return {
        "benchmark": "kernels",
        "model": config.model.name,
        "batch_size": config.optimization.batch_size,
        "precision": "bfloat16" if config.performance.mixed_precision else "float32",
        "variants": figures,
        "own over oneDNN": {kind: _ratios(figures, kind) for kind in kinds},
    }


def _job(kind: str, config: TrainConfig) -> tuple[str, dict[str, Any]]:
    """The maker of one kind of work, and its options."""
    fields = config.flat()
    if kind == "step":
        teachers = "off" if config.distillation.kind == "none" else "on"
        xla = bool(config.performance.jit_compile)
        wanted = {"config": fields, "teachers": teachers, "xla": xla}
        return "tools.benchmarks.our_step:prepare", wanted
    size = 1 if kind == "image" else config.optimization.batch_size
    wanted = {"config": fields, "batch": size, "xla": False, "as_teacher": kind == "teacher"}
    return "tools.benchmarks.our_inference:prepare", wanted


def _ratios(figures: dict[str, dict[str, Any]], kind: str) -> dict[str, float]:
    """By the least disturbed turn, and by the median one of the processor's seconds."""
    own, onednn = (figures[f"{kind}, {kernels}"] for kernels in ("own", "oneDNN"))
    return {
        "seconds best": own["seconds"]["best"] / onednn["seconds"]["best"],
        "cpu seconds best": own["cpu_seconds"]["best"] / onednn["cpu_seconds"]["best"],
        "cpu seconds median": own["cpu_seconds"]["median"] / onednn["cpu_seconds"]["median"],
    }
