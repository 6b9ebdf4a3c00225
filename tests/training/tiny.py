"""Small things to train: models, states, teachers and batches that cost next to nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras import models
from std_keras.config import TrainConfig
from std_keras.config.mine import MineOptions
from std_keras.losses import mine
from std_keras.teachers import Teacher
from std_keras.teachers.predictions import PredictionFormat
from std_keras.training.ema import WeightAverage
from std_keras.training.information import InformationTerm
from std_keras.training.state import TrainState
from std_keras.training.step import StepOptions, Trainer
from std_keras.training.task import DistillationTask

IMAGE_SHAPE = (8, 8, 1)
CLASSES = 10


@contextlib.contextmanager
def as_python() -> Iterator[None]:
    """Runs tf.functions as Python: tracing a step costs more than taking a few."""
    tf.config.run_functions_eagerly(True)
    try:
        with warnings.catch_warnings():
            # TensorFlow warns that data pipelines stay graphs, which is fine.
            warnings.filterwarnings("ignore", "Even though the .*run_functions_eagerly")
            yield
    finally:
        tf.config.run_functions_eagerly(False)


def config(**changes: Any) -> TrainConfig:
    """A run of seconds: a Mixer of 4 patches, 2 epochs of 3 steps on a part of the digits."""
    small = {
        "model": "mixer_s16",
        "patch_size": 4,
        "width": 16,
        "depth": 2,
        "batch_size": 32,
        "max_train_examples": 100,
        "max_test_examples": 50,
        "epochs": 2,
        "log_every_steps": 2,
        "teacher_check": 0,  # It has tests of its own.
    }
    return TrainConfig(**{**small, **changes})


def student(sites: Sequence[str] = ("last",), *, tokens: str = "both", **options: Any) -> Any:
    """A Mixer student of 4 patches and 16 channels, as it is initialised."""
    keras.utils.set_random_seed(options.pop("seed", 0))
    small = {"patch_size": 4, "width": 16, "depth": 2, "tokens": tokens, **options}
    return models.create_student(
        "mixer_s16",
        input_shape=IMAGE_SHAPE,
        num_classes=CLASSES,
        teacher_sites=sites,
        **small,
    )


def randomize(model: keras.Model, *, seed: int = 1, deviation: float = 0.1) -> keras.Model:
    """Moves all weights off their initial values, so that no head is zero."""
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(variable.numpy() + rng.normal(0.0, deviation, variable.shape))
    return model


def sgd(learning_rate: float = 1.0) -> keras.optimizers.Optimizer:
    """Plain gradient descent: the change of a weight is minus its gradient."""
    return keras.optimizers.SGD(learning_rate)


def make_state(
    model: keras.Model,
    *,
    optimizer: keras.optimizers.Optimizer | None = None,
    critics: bool = False,
    critic_optimizer: keras.optimizers.Optimizer | None = None,
    ema: float = 0.0,
) -> TrainState:
    """A state; the critics are narrow and seeded."""
    outputs = models.training_model(model)
    optimizer = optimizer or sgd()
    optimizer.build(model.trainable_variables)
    state = TrainState(model=model, outputs=outputs, optimizer=optimizer)
    if critics:
        pairs = {n: o for n, o in outputs.output.items() if n.startswith("tokens_")}
        state.token_sets = tuple(pairs)
        state.critics = [mine.Critic(32) for _ in pairs]
        for index, (critic, pair) in enumerate(zip(state.critics, pairs.values(), strict=True)):
            critic.build(tuple(pair["spatial"].shape), tuple(pair["channel"].shape))
            rng = np.random.default_rng(100 + index)
            for variable in critic.trainable_variables:
                variable.assign(rng.normal(0.0, 0.3, variable.shape))
        state.log_averages = tf.Variable(
            [mine.NOT_STARTED] * len(pairs),
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        state.critic_optimizer = critic_optimizer or sgd()
        state.critic_optimizer.build(state.critic_variables)
    if ema:
        state.average = WeightAverage(model, decay=ema)
    return state


def linear_teacher(seed: int, *, scale: float = 4.0, site: str = "last") -> Teacher:
    """A teacher that is a fixed matrix."""
    matrix = np.random.default_rng(seed).normal(0.0, scale, (64, CLASSES)).astype(np.float32)
    return teacher(lambda images: tf.matmul(tf.reshape(images, (-1, 64)) / 255.0, matrix), site)


def teacher(network: Any, site: str = "last") -> Teacher:
    """A teacher from a function of pixels."""
    return Teacher(
        name="tiny",
        site=site,
        network=network,
        scale=lambda values: values,
        image_shape=IMAGE_SHAPE,
        probabilities=False,
        compilable=True,
        label_names=None,
    )


def batch(size: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Random pixels and smoothed random labels."""
    rng = np.random.default_rng(seed)
    labels = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, size)]
    return {
        "images": rng.integers(0, 256, (size, *IMAGE_SHAPE), dtype=np.uint8),
        "targets": 0.9 * labels + 0.01,
    }


def feed(
    strategy: tf.distribute.Strategy, batches: Sequence[dict[str, np.ndarray]]
) -> Iterator[Any]:
    """An iterator of global batches, cut for the replicas as the pipeline does."""
    stacked = {k: np.stack([b[k] for b in batches]) for k in batches[0]}
    replicas = strategy.num_replicas_in_sync
    local = {k: v.reshape(-1, v.shape[1] // replicas, *v.shape[2:]) for k, v in stacked.items()}
    return iter(
        strategy.distribute_datasets_from_function(
            lambda _: tf.data.Dataset.from_tensor_slices(local)
        )
    )


def task_of(model: keras.Model, count: int, **options: Any) -> DistillationTask:
    """The task of a student with `count` teachers."""
    names = models.head_names(model)[1:]
    heads = tuple(
        tuple(n for n in names if n.startswith(f"distillation_{i}_")) for i in range(count)
    )
    return DistillationTask(teacher_heads=heads, **options)


def trainer(
    state: TrainState,
    *,
    task: DistillationTask | None = None,
    teachers: Sequence[Teacher] = (),
    strategy: tf.distribute.Strategy | None = None,
    mine_weight: float = 0.0,
    mine_bias_correction: bool = True,
    **options: Any,
) -> Trainer:
    """A trainer on one device unless a strategy is given."""
    task = task or task_of(state.model, len(teachers))
    mine_options = MineOptions(weight=mine_weight, bias_correction=mine_bias_correction)
    return Trainer(
        state=state,
        task=dataclasses.replace(
            task,
            teachers=teachers,
            prediction_format=PredictionFormat(num_classes=CLASSES, soft=task.kind == "soft"),
            information=InformationTerm.of(state, mine_options) if mine_weight else None,
        ),
        strategy=strategy or tf.distribute.get_strategy(),
        options=StepOptions(**options),
    )


def values(variables: Sequence[Any]) -> list[np.ndarray]:
    """Copies of variables."""
    return [np.array(v.numpy()) for v in variables]
