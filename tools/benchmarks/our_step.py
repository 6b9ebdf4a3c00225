"""One training step of the project, with random images, as training does it."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from std_keras.config import TrainConfig
from tools.benchmarks import setting
from tools.benchmarks.turns import Prepared

# Of a measured matrix product: smaller ones show what starting one costs, not the machine's rate.
_LEAST_ROWS, _LEAST_WIDTH = 4096, 512


def prepare(*, config: Mapping[str, Any], teachers: str, xla: bool) -> Prepared:
    """A maker for `turns`: a step with new weights.

    Args:
        config: the fields of a `TrainConfig`.
        teachers: on, cached or off; see `train_step`.
        xla: whether XLA compiles the step.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = from_json(config)
        step, facts = make(made, Path(folder), teachers=teachers, xla=xla)
    return Prepared(
        call=step, facts=facts, device_bytes=device_bytes, times=made.performance.steps_per_call
    )


def from_json(fields: Mapping[str, Any]) -> TrainConfig:
    """A configuration that was sent as JSON, which has no tuples."""
    return TrainConfig(**{**fields, "teacher": tuple(fields["teacher"])})


def make(
    config: TrainConfig,
    folder: Path,
    *,
    teachers: str,
    xla: bool,
    metrics: bool = True,
    view: int | None = None,
) -> tuple[Callable[[], None], dict[str, Any]]:
    """A function that takes `steps_per_call` steps, and what is to be known of one.

    Args:
        config: what is trained.
        folder: for a run directory and new teachers.
        teachers: on, cached or off.
        xla: whether XLA compiles the step.
        metrics: whether the step computes what is logged beside the loss.
        view: None for the same batch again and again; else they are made as in training, with a
            view of so many times the images' side if that is more than 1.
    """
    import tensorflow as tf

    from std_keras import models
    from std_keras.config import resolve
    from std_keras.quiet import load_tensorflow
    from std_keras.runs.run_directory import RunDirectory
    from std_keras.training.assembly import assemble
    from std_keras.training.strategy import create_strategy

    load_tensorflow()
    changes: dict[str, Any] = {"strategy": "one_device", "teacher_cache": None, "jit_compile": xla}
    if teachers == "off":
        changes |= {"distillation": "none", "mine_weight": 0.0}
    config = config.replace(**changes)
    data = setting.dataset(config)
    config = resolve(config, image_size=data.image_shape[0], horizontal_flip=True)
    config = setting.with_teachers(config, data, folder, asked=teachers == "on")
    strategy = create_strategy("one_device")
    with strategy.scope():
        training = assemble(config, data, RunDirectory(folder), strategy=strategy, chief=False)
        trainer, state = training.trainer, training.state
        if not metrics:
            trainer.task = _only_the_loss(trainer.task)
        ready: dict[str, Any] = {}
        if view is None:
            ready = setting.batch(data, config.optimization.batch_size)
        if teachers == "cached" and trainer.task.teachers:
            ready |= setting.random_predictions(config, data, len(trainer.task.teachers))
        stream = tf.data.Dataset.from_tensors(ready).repeat()
        if view is not None:
            made = setting.pictures(config, data, folder, view=view)
            stream = tf.data.Dataset.zip(made, stream).map(lambda a, b: {**a, **b})
        batches = iter(strategy.experimental_distribute_dataset(stream.prefetch(2)))

    def step() -> None:
        with strategy.scope():
            trainer.call(batches, first_step=0, steps=config.performance.steps_per_call)

    macs = models.multiply_accumulates(state.outputs)
    networks = [t.model for t in trainer.task.teachers if t.model is not None]  # Not SavedModels.
    of_teachers = 0
    if teachers == "on":
        of_teachers = sum(models.multiply_accumulates(network) for network in networks)
    critics = sum(  # Of each pair of tokens, and of each pair of strangers.
        2 * math.prod(v.shape)
        for v in state.critic_variables
        if trainer.task.information is not None and len(v.shape) == 2
    )
    facts = {
        # Of the backward pass: the gradients of the inputs and of the weights cost one forward
        # pass each. (The stem has no gradient of its input; that is below 1 %.)
        "flop": 2.0 * config.optimization.batch_size * (3 * (macs + critics) + of_teachers),
        "student_macs": macs,
        "parameters": models.trainable_parameters(state.model),
        "image_shape": list(data.image_shape),
        "num_classes": data.num_classes,
        **block_facts(state.model, config.optimization.batch_size),
        "teacher_models": [network.name for network in networks],
    }
    return step, facts


def device_bytes() -> int | None:
    """The most memory that TensorFlow held on the first GPU; None without one."""
    import tensorflow as tf

    if not tf.config.list_logical_devices("GPU"):
        return None
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])


def block_facts(model: Any, batch: int) -> dict[str, Any]:
    """The blocks of a model: how many, their features, and the shapes of their dense layers.

    "matmuls" are (M, K, N) of channel mixing, which is most of the arithmetic of an MLP, or of
    larger ones.
    """
    blocks = [layer for layer in model.layers if "block_" in layer.name]
    features = [int(size) for size in blocks[0].output.shape[1:]]
    width = max(features[-1], _LEAST_WIDTH)
    rows = max(batch * math.prod(features[:-1]), _LEAST_ROWS)
    return {
        "features": features,
        "depth": len(blocks),
        "matmuls": [(rows, width, 4 * width), (rows, 4 * width, width)],
    }


def _only_the_loss(task: Any) -> Any:
    """The task without what is only logged: every metric is the loss itself."""
    from std_keras.training.task import DistillationTask

    class LossAlone(DistillationTask):
        def example_losses(self, *args: Any, **keywords: Any) -> Any:
            loss, metrics = super().example_losses(*args, **keywords)
            return loss, dict.fromkeys(metrics, loss)

    return LossAlone(**{f.name: getattr(task, f.name) for f in dataclasses.fields(task)})
