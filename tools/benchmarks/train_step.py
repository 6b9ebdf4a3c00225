"""Measures one training step, as training does it, and the share of the machine's matmul rate.

Takes the flags of a training, of which those of data, model, objective and optimizer count; the
model is new, and one batch of the data set is used again and again, so that data costs nothing.
Teachers run as in training (--teachers=on), their labels come with the batch (cached), or there is
no distillation at all (off).

--against=torch runs the same step in plain PyTorch: a Mixer with token sets, as the public
reproduction builds it, and a CIFAR ResNet as teacher. Then what PyTorch's version does not have is
left out on both sides: mutual information, moving average, stochastic depth, clipping.

All variants take turns in one process. On 2 cores PyTorch's step took 14.4 s there and 7.9 s
in a process without TensorFlow (ours 8.7 s), so "torch_to_ours" flatters us until the two run in
processes of their own. "share" is the step's arithmetic (three times the forward
pass of the student, once the teachers') at the rate of this machine's matmuls, measured in between
at the student's own shapes, over the step's time.
"""

from __future__ import annotations

import dataclasses
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from std_keras.config import Option, TrainConfig, options
from std_keras.errors import InputError

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
    "compile": Option(
        topic=_TOPIC,
        help="Whether to measure XLA, and torch.compile with --against=torch, too.",
        kind=bool,
    ),
    "rounds": Option(topic=_TOPIC, help="Steps of each variant that are timed.", kind=int),
    **options(),
}
DEFAULTS = {
    "teachers": "on",
    "against": "none",
    "compile": True,
    "rounds": 5,
    **{f.name: f.default for f in dataclasses.fields(TrainConfig)},
}


def run(*, teachers: str, against: str, compile: bool, rounds: int, **flags: Any) -> dict[str, Any]:
    """The figures; see the module's text and `OPTIONS`."""
    if rounds < 1:
        raise InputError(f"--rounds={rounds} is outside its limits; it must be at least 1")
    changes: dict[str, Any] = {"strategy": "one_device", "teacher_cache": None}
    if teachers == "off":
        changes |= {"distillation": "none", "mine_weight": 0.0}
    if against == "torch":
        changes |= {"mine_weight": 0.0, "ema_decay": 0.0, "stochastic_depth": 0.0, "clip_norm": 0.0}
    config = dataclasses.replace(TrainConfig(**flags), **changes)
    calls: dict[str, Callable[[], None]] = {}
    first: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, xla in (("plain", False), ("xla", True))[: 2 if compile else 1]:
            began = time.perf_counter()
            step, facts = _our_step(config, Path(folder) / name, xla=xla, teachers=teachers)
            step()
            calls[name] = step
            first[name] = time.perf_counter() - began
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if against == "torch":
            from benchmarks import torch_step

            for name, step in torch_step.steps(
                config, facts, compiled=compile, with_teacher=teachers == "on"
            ).items():
                began = time.perf_counter()
                step()
                calls[name] = step
                first[name] = time.perf_counter() - began
        matmul = _matmul(facts["matmuls"], dtype=facts["dtype"])
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        rates: list[float] = []
        for _ in range(rounds):
            for name, call in calls.items():
                began = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - began)
            rates.append(matmul())
    rate = max(rates)
    best = {name: min(values) for name, values in seconds.items()}
    return {
        "benchmark": "train",
        "model": config.model,
        "batch_size": config.batch_size,
        "teachers": teachers if config.distillation != "none" else "off",
        "precision": facts["dtype"],
        "gflop_per_step": facts["flop"] / 1e9,
        "matmul_gflop_per_s": {"best": rate / 1e9, "median": statistics.median(rates) / 1e9},
        "variants": {
            name: {
                "seconds": {
                    "best": best[name],
                    "median": statistics.median(values),
                    "worst": max(values),
                },
                "images_per_s": config.batch_size / best[name],
                "share": facts["flop"] / rate / best[name],
                "start_seconds": first[name],
            }
            for name, values in seconds.items()
        },
        "torch_to_ours": (
            min(v for n, v in best.items() if n.startswith("torch"))
            / min(v for n, v in best.items() if not n.startswith("torch"))
            if against == "torch"
            else None
        ),
        "peak_bytes": memory,
        "machine": {"cores": os.cpu_count(), "load_average": os.getloadavg()[0]},
    }


def _our_step(
    config: TrainConfig, folder: Path, *, xla: bool, teachers: str
) -> tuple[Callable[[], None], dict[str, Any]]:
    """A function that takes one step, and what is to be known of it."""
    import tensorflow as tf

    from std_keras import models
    from std_keras.config import resolve
    from std_keras.data import Shard
    from std_keras.rundir import RunDirectory
    from std_keras.training import build, stream
    from std_keras.training.cached_labels import label_format
    from std_keras.training.loop import Loop
    from std_keras.training.strategy import create_strategy

    dataset = build.load_data(config)
    config = resolve(
        dataclasses.replace(config, jit_compile=xla),
        image_size=dataset.image_shape[0],
        horizontal_flip=dataset.horizontal_flip,
    )
    strategy = create_strategy("one_device")
    with strategy.scope():
        loop = Loop(
            config=config,
            dataset=dataset,
            run=RunDirectory(folder),
            strategy=strategy,
            chief=False,
        )
        trainer = loop.trainer
        batch = next(iter(stream.batches(config, dataset, start_step=0, shard=Shard())))
        if teachers == "cached" and trainer.teachers:
            logits = [teacher.logits(batch["images"]) for teacher in trainer.teachers]
            batch |= label_format(config, dataset).encode(tf.stack(logits, axis=1))
        batches = iter(
            strategy.experimental_distribute_dataset(
                tf.data.Dataset.from_tensors(batch).repeat().prefetch(2)
            )
        )

    def step() -> None:
        with strategy.scope():
            trainer.call(batches, first_step=0, steps=1)

    macs = models.multiply_accumulates(loop.state.outputs)
    of_teachers = 0
    if teachers == "on":
        known = [t.model for t in trainer.teachers if t.model is not None]  # Not SavedModels.
        of_teachers = sum(models.multiply_accumulates(model) for model in known)
    facts = {
        "flop": 2.0 * config.batch_size * (3 * macs + of_teachers),
        "matmuls": _shapes(loop.state.model, config.batch_size),
        "dtype": "bfloat16" if config.mixed_precision else "float32",
        "images": batch["images"].numpy(),
        "targets": batch["targets"].numpy(),
        "num_classes": dataset.num_classes,
        "model": loop.state.model,
        "teacher_depths": [_depth(t.model) for t in trainer.teachers if t.model is not None],
    }
    return step, facts


def _shapes(model: Any, batch: int) -> list[tuple[int, int, int]]:
    """(M, K, N) of the dense layers of a block: what most of the arithmetic is."""
    features = model.get_layer("block_0").output.shape
    rows, width = batch * int(features[1]), int(features[2])
    return [(rows, width, 4 * width), (rows, 4 * width, width)]


def _depth(network: Any) -> int:
    """Of a CIFAR ResNet: 6n + 2."""
    blocks = [layer for layer in network.layers if "_block_" in layer.name]
    return 2 * len(blocks) + 2


def _matmul(shapes: list[tuple[int, int, int]], *, dtype: str) -> Callable[[], float]:
    """A function that measures the rate of matrix products, in FLOP/s."""
    import tensorflow as tf

    pairs = [
        (tf.random.normal((m, k), dtype=dtype), tf.random.normal((k, n), dtype=dtype))
        for m, k, n in shapes
    ]

    def measure() -> float:
        best = 0.0
        for (m, k, n), (a, b) in zip(shapes, pairs, strict=True):
            for _ in range(3):
                began = time.perf_counter()
                tf.matmul(a, b)[0, 0].numpy()
                best = max(best, 2.0 * m * k * n / (time.perf_counter() - began))
        return best

    return measure
