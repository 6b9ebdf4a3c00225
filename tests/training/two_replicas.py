"""Evaluates on one replica and on two, and writes down what two replicas say.

A process of its own: the CPU must be split into two devices before TensorFlow starts. Run as
`python two_replicas.py FILE`; FILE becomes JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import keras
import tensorflow as tf
from tiny import batch, randomize, student

from std_keras import models
from std_keras.data.arrays import ArraySource
from std_keras.errors import InputError
from std_keras.training import checks, strategy
from std_keras.training.evaluation import Evaluator


def small_student() -> keras.Model:
    """One block, two teachers."""
    return randomize(student(["last", "last"], depth=1))


def evaluated(strategy: tf.distribute.Strategy) -> dict[str, float]:
    """All heads over 21 examples in batches of 8 (rounded up from 7 on two replicas)."""
    model = small_student()
    some = batch(21)
    source = ArraySource(some["images"], some["targets"].argmax(-1))
    heads = models.heads_model(model)
    evaluator = Evaluator(heads, source=source, batch_size=7, strategy=strategy)
    by_head = {head: figures.as_dict() for head, figures in evaluator.run().items()}
    again = {h: f.as_dict() for h, f in evaluator.run(stop=lambda: False).items()}
    assert by_head == again
    return {f"{h}/{name}": v for h, own in by_head.items() for name, v in own.items()}


def refused_batch(mirrored: tf.distribute.Strategy) -> list[str]:
    """What is said about batches and options that two CPU replicas cannot take."""
    from std_keras.config import TrainConfig, resolve

    messages = []
    student_of_teacher = {"distillation": "hard", "teacher": ("x",), "mine_weight": 0.1}
    for options in (
        {"batch_size": 15},
        {"batch_size": 18, "accumulation_steps": 2},
        {"jit_compile": True},
        {"batch_size": 2, **student_of_teacher},
        {"mine_schedule": "epoch", "mine_samples": 5, **student_of_teacher},
    ):
        config = resolve(TrainConfig(**options), image_size=8, horizontal_flip=False)
        try:
            checks.check_devices(config, mirrored)
            messages.append("accepted")
        except InputError as error:
            messages.append(str(error))
    return messages


def main(file: str) -> None:
    mirrored = strategy.create_strategy("mirrored", logical_cpus=2)
    # Each graph runs a few times only: optimising it would take longer than running it.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    single = strategy.create_strategy("one_device")
    report: dict[str, Any] = {"evaluated": []}
    for where in (single, mirrored):
        with where.scope():
            report["evaluated"].append(evaluated(where))
    shard = strategy.own_shard(mirrored)
    report["strategy"] = {
        "replicas": mirrored.num_replicas_in_sync,
        "shard": [shard.first_replica, shard.local_replicas, shard.replicas],
        "chief": strategy.is_chief(mirrored),
        "auto": strategy.create_strategy("auto").num_replicas_in_sync,
        "refused": refused_batch(mirrored),
    }
    with open(file, "w", encoding="utf-8") as out:
        json.dump(report, out)


if __name__ == "__main__":
    main(sys.argv[1])
