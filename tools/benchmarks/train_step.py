"""Measures one training step, as training does it, and the share of the machine's matmul rate.

Takes the flags of a training, of which those of model, objective and optimizer count: the model is
new, and one batch of random images of the data set's shape is used again and again, so that data
costs nothing and need not be there. Teachers run as in training (--teachers=on; one that was not
trained here is made from the flag file of its name), or their labels come with the batch (cached),
or nothing is distilled (off).

--against=torch runs the same step in plain PyTorch: a Mixer with token sets, as the public
reproduction builds it, and a CIFAR ResNet as teacher. Then what PyTorch's version does not have is
left out on both sides: mutual information, moving average, stochastic depth, clipping.

--steps_per_call=10 takes ten steps between two looks at the clock, on both sides: what a GPU needs
to be kept busy. Here the default is 1.

Every variant has a process of its own, and they take turns. "share" is the step's arithmetic (three
times the forward pass of the student, once the teachers') at the rate of this machine's matmuls,
measured in turn at the shapes of a block (or larger) and the step's precision, over the
step's time. "ratios" are PyTorch's time over the best of ours; above 1 we are faster.
"""

from __future__ import annotations

from typing import Any

from std_keras.config import TrainConfig, defaults, options
from std_keras.config.option import Option
from std_keras.errors import InputError
from tools.benchmarks import torch_step
from tools.benchmarks.turns import Job, Processes

_TOPIC = "Training benchmark"
OPTIONS = {
    "teachers": Option(
        topic=_TOPIC,
        help="Whether teachers run, their labels are there already, or nothing is distilled.",
        kind=str,
        choices=("on", "cached", "off"),
    ),
    "against": Option(
        topic=_TOPIC,
        help="What to measure beside it: torch (needs torch, see requirements-dev.txt).",
        kind=str,
        choices=("none", "torch"),
    ),
    "variants": Option(
        topic=_TOPIC,
        help="Of ours, separated by commas: plain, xla.",
        kind=str,
    ),
    "torch_variants": Option(
        topic=_TOPIC,
        help=f"Of PyTorch's, separated by commas: {', '.join(torch_step.VARIANTS)}. If not given, "
        "eager and compile, and with --mixed_precision theirs in bfloat16 too; convolutions is the "
        "network as the public reproduction has it.",
        kind=str,
    ),
    "rounds": Option(topic=_TOPIC, help="Turns of each variant.", kind=int),
    "seconds": Option(
        topic=_TOPIC, help="How long a turn lasts; a step at least, however long.", kind=float
    ),
    **options(),
}
DEFAULTS = {
    "teachers": "on",
    "against": "none",
    "variants": "plain,xla",
    "rounds": 5,
    "seconds": 1.0,
    **defaults(),
    "steps_per_call": 1,  # A step takes seconds on a CPU.
}
# Of the results, those that results/benchmarks.csv keeps.
FIGURES = (
    "variants/*/seconds/best",
    "variants/*/seconds/median",
    "variants/*/share",
    "variants/*/compile_seconds",
    "variants/*/peak_bytes",
    "ratios/*/*",
    "matmul_gflop_per_s/*/best",
)


def run(
    *,
    teachers: str,
    against: str,
    variants: str,
    torch_variants: str | None,
    rounds: int,
    seconds: float,
    **flags: Any,
) -> dict[str, Any]:
    """The figures; see the module's text and `OPTIONS`."""
    check_turns(rounds, seconds)
    changes: dict[str, Any] = {}
    if teachers == "off":
        changes |= {"distillation": "none", "mine_weight": 0.0}
    if against == "torch":
        changes |= {"mine_weight": 0.0, "ema_decay": 0.0, "stochastic_depth": 0.0, "clip_norm": 0.0}
    config = TrainConfig(**flags).replace(**changes)
    if config.distillation.kind == "none":
        teachers = "off"
    names = chosen("variants", variants, ("plain", "xla"))
    others: list[str] = []
    fields = config.flat()
    if against == "torch":
        every = ",".join(torch_step.usual(bfloat16=config.performance.mixed_precision))
        others = chosen("torch_variants", torch_variants or every, torch_step.VARIANTS)
        torch_step.check(fields)
    common = {"config": fields, "teachers": teachers}
    own = "bfloat16" if config.performance.mixed_precision else "float32"
    precisions = dict.fromkeys(names, own)
    with Processes() as processes:
        facts: dict[str, Any] = {}
        for name in names:
            facts = processes.start(
                Job(name, "tools.benchmarks.our_step:prepare", {**common, "xla": name == "xla"})
            )
        for name in others:
            wanted = {**common, "facts": facts, "variant": name}
            job = Job(torch_name(name), "tools.benchmarks.torch_step:prepare", wanted)
            processes.start(job)
            precisions[job.name] = "bfloat16" if name.endswith("bfloat16") else "float32"
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
    rates = matmul_rates(figures, facts["matmuls"])
    for name, dtype in precisions.items():
        best = figures[name]["seconds"]["best"]
        figures[name] |= {
            "images_per_s": config.optimization.batch_size / figures[name]["seconds"]["median"],
            "share": facts["flop"] / (rates[dtype]["best"] * 1e9) / best,
            "precision": dtype,
        }
    return {
        "benchmark": "train",
        "model": config.model.name,
        "batch_size": config.optimization.batch_size,
        "teachers": teachers,
        "precision": own,
        "parameters": facts["parameters"],
        "gflop_per_step": facts["flop"] / 1e9,
        "matmul_gflop_per_s": rates,
        "variants": figures,
        "ratios": ratios(figures, names, [torch_name(name) for name in others], precisions),
    }


def check_turns(rounds: int, seconds: float) -> None:
    """Refuses turns that cannot be."""
    if rounds < 1:
        raise InputError(f"--rounds={rounds} is outside its limits; it must be at least 1")
    if not 0 <= seconds <= 3600:
        raise InputError(f"--seconds={seconds} is outside its limits; it must be 0 to 3600")


def chosen(flag: str, text: str, legal: tuple[str, ...]) -> list[str]:
    """The names in a list that is separated by commas."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    wrong = [name for name in names if name not in legal]
    if wrong or not names:
        raise InputError(f"--{flag}={text}: name some of {', '.join(legal)}, separated by commas")
    return list(dict.fromkeys(names))


def torch_name(variant: str) -> str:
    """What a variant of PyTorch is called in tables."""
    return f"torch {variant.replace('_', ' ')}"


def matmul_name(dtype: str) -> str:
    """What the machine's own rate is called among the jobs."""
    return f"matmul {dtype}"


def matmul_rates(
    figures: dict[str, dict[str, Any]], shapes: list[list[int]]
) -> dict[str, dict[str, float]]:
    """Takes the matmuls out of the figures, and returns GFLOP/s by precision."""
    flop = sum(2.0 * m * k * n for m, k, n in shapes)
    found = {}
    for dtype in ("float32", "bfloat16"):
        if matmul_name(dtype) in figures:
            seconds = figures.pop(matmul_name(dtype))["seconds"]
            found[dtype] = {k: flop / seconds[k] / 1e9 for k in ("best", "median")}
    return found


def ratios(
    figures: dict[str, dict[str, Any]],
    ours: list[str],
    theirs: list[str],
    precisions: dict[str, str],
) -> dict[str, dict[str, float]]:
    """The time of each of theirs over the fastest of ours, by best and by median.

    The name of a ratio says so where the precisions differ.
    """
    own = precisions[ours[0]]

    def named(other: str) -> str:
        same = precisions[other] == own
        return f"{other} / ours" if same else f"{other} ({precisions[other]}) / ours ({own})"

    return {
        named(other): {
            kind: figures[other]["seconds"][kind]
            / min(figures[name]["seconds"][kind] for name in ours)
            for kind in ("best", "median")
        }
        for other in theirs
    }
