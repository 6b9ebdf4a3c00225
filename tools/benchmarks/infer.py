"""Measures a model in inference for one image at a time and for many, beside PyTorch.

Takes the flags of a training, of which those of the model count; a student is measured with the
mean of its heads. Exported files are another benchmark (export).

Every variant has a process of its own, and they take turns. "share" is the arithmetic of the call
at the rate of this machine's matmuls, measured in turn at the shapes of a block (or larger), over
its time. "ratios" are PyTorch's time over the best of ours for the same batch; above 1 we are
faster.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from std_keras.config import TrainConfig, options
from std_keras.config.option import Option
from std_keras.errors import InputError
from tools.benchmarks import torch_step, train_step
from tools.benchmarks.train_step import matmul_name, torch_name
from tools.benchmarks.turns import Job, Processes

_TOPIC = "Inference benchmark"
OPTIONS = {
    "batches": Option(
        topic=_TOPIC,
        help="Images in a call, separated by commas. If not given, 1 and --batch_size.",
        kind=str,
    ),
    **{
        name: dataclasses.replace(train_step.OPTIONS[name], topic=_TOPIC)
        for name in ("against", "variants", "torch_variants", "rounds", "seconds")
    },
    **options(),
}
DEFAULTS = {k: v for k, v in train_step.DEFAULTS.items() if k in OPTIONS}
# Of the results, those that results/benchmarks.csv keeps.
FIGURES = (
    "variants/*/seconds/best",
    "variants/*/seconds/median",
    "variants/*/share",
    "variants/*/peak_bytes",
    "ratios/*/*",
    "matmul_gflop_per_s/*/best",
)


def run(
    *,
    batches: str | None,
    against: str,
    variants: str,
    torch_variants: str | None,
    rounds: int,
    seconds: float,
    **flags: Any,
) -> dict[str, Any]:
    """The figures; see the module's text and `OPTIONS`."""
    train_step.check_turns(rounds, seconds)
    config = TrainConfig(**flags)
    sizes = _sizes(batches if batches is not None else f"1,{config.optimization.batch_size}")
    ours = train_step.chosen("variants", variants, ("plain", "xla"))
    others: list[str] = []
    fields = config.flat()
    if against == "torch":
        every = ",".join(torch_step.usual(bfloat16=config.performance.mixed_precision))
        others = train_step.chosen("torch_variants", torch_variants or every, torch_step.VARIANTS)
        torch_step.check_model(fields)
    own = "bfloat16" if config.performance.mixed_precision else "float32"
    precisions: dict[str, str] = {}
    flop: dict[str, float] = {}
    facts: dict[str, Any] = {}
    with Processes() as processes:
        for size in sizes:
            for name in ours:
                wanted = {"config": fields, "batch": size, "xla": name == "xla"}
                job = Job(_name(name, size), "tools.benchmarks.our_inference:prepare", wanted)
                facts = processes.start(job)
                precisions[job.name], flop[job.name] = own, facts["flop"]
            for name in others:
                wanted = {"config": fields, "facts": facts, "batch": size, "variant": name}
                maker = "tools.benchmarks.torch_step:prepare_inference"
                job = Job(_name(torch_name(name), size), maker, wanted)
                processes.start(job)
                precisions[job.name] = "bfloat16" if name.endswith("bfloat16") else "float32"
                flop[job.name] = facts["flop"]
        for dtype in sorted(set(precisions.values())):
            processes.start(
                Job(
                    matmul_name(dtype),
                    "tools.benchmarks.matmul:prepare",
                    {"shapes": facts["matmuls"], "dtype": dtype},
                )
            )
        processes.take_turns(rounds=rounds, seconds=seconds)
        figures = processes.figures()
    rates = train_step.matmul_rates(figures, facts["matmuls"])
    for name, dtype in precisions.items():
        timed = figures[name]["seconds"]
        figures[name] |= {
            "images_per_s": int(name.rpartition(" ")[2]) / timed["median"],
            "share": flop[name] / (rates[dtype]["best"] * 1e9) / timed["best"],
            "precision": dtype,
        }
    ratios: dict[str, dict[str, float]] = {}
    for size in sizes:
        ratios |= train_step.ratios(
            figures,
            [_name(name, size) for name in ours],
            [_name(torch_name(name), size) for name in others],
            precisions,
        )
    return {
        "benchmark": "infer",
        "model": config.model.name,
        "precision": own,
        "parameters": facts["parameters"],
        "gmac_per_image": facts["image_macs"] / 1e9,
        "matmul_gflop_per_s": rates,
        "variants": figures,
        "ratios": ratios,
    }


def _sizes(text: str) -> list[int]:
    """The batch sizes of a list, in increasing order."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"--batches={text}: name numbers of at least 1, separated by commas")
    return sorted({int(part) for part in parts})


def _name(variant: str, size: int) -> str:
    return f"{variant}, batch {size}"
