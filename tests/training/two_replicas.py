"""Takes the same steps on one replica, as Python, and traced on two, and writes both down.

A process of its own: the CPU must be split into two devices before TensorFlow starts. Run as
`python two_replicas.py FILE`; FILE becomes JSON, by case a list of differences.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras import models
from std_keras.data.arrays import ArraySource
from std_keras.errors import InputError
from std_keras.runs.evaluation import Evaluator
from std_keras.training import checks, strategy
from std_keras.training.adamw import AdamW
from std_keras.training.matrices import hidden_matrices
from std_keras.training.muon import Muon
from std_keras.training.optimizers import decays
from tests.training.tiny import (
    as_python,
    batch,
    feed,
    linear_teacher,
    make_state,
    randomize,
    sgd,
    student,
    task_of,
    trainer,
    values,
)

Result = dict[str, Any]
TEACHERS = [linear_teacher(0, scale=0.5), linear_teacher(1, scale=0.3)]


def small_student(teachers: int = 1) -> keras.Model:
    """One block."""
    return randomize(student(["last"] * teachers, depth=1))


def everything(state: Any) -> list[Any]:
    variables = [*state.model.variables, *state.critic_variables]
    return variables + ([] if state.log_averages is None else [state.log_averages])


def steps_of(strategy: tf.distribute.Strategy, state: Any, *, count: int, **options: Any) -> Result:
    """Takes `count` steps; names, start and end of all variables, and the figures."""
    before = values(everything(state))
    sites = sum(f"tokens_{i}_last" in state.outputs.output for i in range(len(TEACHERS)))
    scope = {"confidence_scope": "batch"} if sites else {}
    made = trainer(
        state,
        teachers=TEACHERS[:sites],
        task=task_of(state.model, sites, **scope),
        strategy=strategy,
        batch_size=16,
        **options,
    )
    batches = [batch(16, seed=i) for i in range(count)]
    result = made.call(feed(strategy, batches), first_step=0, steps=count)
    return outcome(strategy, state, before, result.last)


def outcome(strategy: tf.distribute.Strategy, state: Any, before: Any, figures: Any) -> Result:
    variables = everything(state)
    names = [getattr(v, "path", v.name) for v in variables]
    after = values(variables)
    apart = []
    every = [*variables, *(state.average._averages if state.average else [])]
    for variable in every:
        inner = getattr(variable, "value", variable) if hasattr(variable, "path") else variable
        copies = [c.numpy() for c in strategy.experimental_local_results(inner)]
        if any(not np.array_equal(c, copies[0]) for c in copies[1:]):
            apart.append(getattr(variable, "path", variable.name))
    averages: list[Any] = []
    if state.average is not None:
        with state.average.in_place():
            averages = values(state.model.variables)
    return {
        "names": names,
        "moved": [a - b if np.isfinite(b).all() else a for a, b in zip(after, before, strict=True)],
        "averages": averages,
        "figures": figures,
        "apart": apart,
    }


def distilled(strategy: tf.distribute.Strategy) -> Result:
    """Two steps of two teachers: clipping, L2, MINE, weights of the batch scope, averages.

    Plain descent, so that a wrong size of a gradient shows (AdamW would hide it).
    """
    state = make_state(small_student(teachers=2), optimizer=sgd(0.1), critics=True, ema=0.9)
    return steps_of(strategy, state, count=2, mine_weight=0.2, clip_norm=0.5, l2=0.05)


def with_muon(strategy: tf.distribute.Strategy) -> Result:
    """Two steps; what AdamW does beside it is left out, for it hides the size of a gradient and
    shows rounding errors."""
    model = small_student()
    matrices = hidden_matrices(model)
    optimizer = Muon(0.05, matrices=matrices, weight_decay=0.2, adam_lr_ratio=0.0)
    optimizer.exclude_from_weight_decay(
        var_list=[v for v in model.trainable_variables if not decays(v)]
    )
    return steps_of(strategy, make_state(model, optimizer=optimizer), count=2)


def with_adamw(strategy: tf.distribute.Strategy) -> Result:
    """Two steps with an epsilon beside which a gradient is small, so that its size shows."""
    model = small_student()
    optimizer = AdamW(0.05, weight_decay=0.2, epsilon=1.0)
    return steps_of(strategy, make_state(model, optimizer=optimizer), count=2)


def evaluated(strategy: tf.distribute.Strategy) -> Result:
    """All heads over 21 examples in batches of 8 (rounded up from 7 on two replicas)."""
    model = small_student()
    some = batch(21)
    source = ArraySource(some["images"], some["targets"].argmax(-1))
    heads = models.heads_model(model)
    evaluator = Evaluator(heads, source=source, batch_size=7, strategy=strategy)
    by_head = {head: figures.as_dict() for head, figures in evaluator.run().items()}
    again = {h: f.as_dict() for h, f in evaluator.run(stop=lambda: False).items()}
    assert by_head == again
    figures = {f"{h}/{name}": v for h, own in by_head.items() for name, v in own.items()}
    return {"names": [], "moved": [], "averages": [], "figures": figures, "apart": []}


CASES: dict[str, Callable[[tf.distribute.Strategy], Result]] = {
    f.__name__: f for f in (distilled, with_muon, with_adamw, evaluated)
}


def differences(one: Result, two: Result) -> Result:
    """By variable the largest difference relative to the size of its movement."""
    apart = {}
    for name, a, b in zip(one["names"], one["moved"], two["moved"], strict=True):
        apart[name] = float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-3))
    for index, (a, b) in enumerate(zip(one["averages"], two["averages"], strict=True)):
        apart[f"average of {index}"] = float(np.abs(a - b).max() / np.abs(a).max().clip(1e-3))
    moved = [n for n, a in zip(one["names"], one["moved"], strict=True) if np.abs(a).max() > 0]
    return {
        "variables": apart,
        "moved": moved,
        "figures": [one["figures"], two["figures"]],
        "replicas_apart": two["apart"],
    }


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


def summed(replicated: tf.distribute.Strategy, size: int) -> float:
    """One number of the sum of `size` ones of every replica, as the step sums gradients."""

    @tf.function
    def total() -> Any:
        def replica() -> tf.Tensor:
            return tf.distribute.get_replica_context().all_reduce("SUM", tf.ones(size))

        return replicated.experimental_local_results(replicated.run(replica))[0][-1]

    return float(total())


def main(file: str) -> None:
    mirrored = strategy.create_strategy("mirrored", logical_cpus=2)
    # Each graph runs a few times only: optimising it would take longer than running it.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    single = strategy.create_strategy("one_device")
    report: dict[str, Any] = {}
    for name, case in CASES.items():
        with single.scope(), as_python():
            one = case(single)
        with mirrored.scope():
            report[name] = differences(one, case(mirrored))
    shard = strategy.own_shard(mirrored)
    report["strategy"] = {
        "replicas": mirrored.num_replicas_in_sync,
        "shard": [shard.first_replica, shard.local_replicas, shard.replicas],
        "chief": strategy.is_chief(mirrored),
        "auto": strategy.create_strategy("auto").num_replicas_in_sync,
        "of_a_second_run": summed(strategy.create_strategy("mirrored", logical_cpus=2), size=3),
        "refused": refused_batch(mirrored),
    }
    with open(file, "w", encoding="utf-8") as out:
        json.dump(report, out)


if __name__ == "__main__":
    main(sys.argv[1])
