"""The trainings that are repeated on several devices, and what is kept of each.

They are assembled as `std_keras.train` assembles a run: the same stream of batches, model, critics,
objective and step. The optimizer alone is another: plain gradient descent, which hides nothing
(AdamW divides a gradient by its size), and which keeps each gradient that it gets.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras.config import TrainConfig, resolve
from std_keras.data import DataSet
from std_keras.runs.run_directory import RunDirectory
from std_keras.teachers import Teacher
from std_keras.training import build, start, stream
from std_keras.training.cached_predictions import prediction_format
from std_keras.training.mine_epoch import create_epoch_step
from std_keras.training.objectives import create_task
from std_keras.training.state import TrainState
from std_keras.training.step import StepOptions, Trainer
from std_keras.training.strategy import own_shard

LEARNING_RATE = 0.1
# Of the critics, which ascend on an exponential: at 0.1 it turns the rounding of float32 into 3e-5.
CRITIC_LEARNING_RATE = 0.01
# Divisible by 1, 2, 3 and 4 replicas, with parts of even size (MINE's pairs).
BATCH_SIZE = 24
_SMALL: dict[str, Any] = {
    "dataset": "digits",
    "batch_size": BATCH_SIZE,
    "max_train_examples": 5 * BATCH_SIZE,
    "max_test_examples": 10,
    "label_smoothing": 0.1,
    "optimizer": "sgd",
}
_STUDENT: dict[str, Any] = {
    "model": "mixer_s16",
    "patch_size": 4,
    "width": 16,
    "depth": 2,
    "distillation": "hard",
    "teacher": ("first,site=intermediate", "second,site=last"),
}


@dataclass(frozen=True)
class Case:
    """One training.

    Attributes:
        title: what is trained with what, for the table.
        flags: of the training, beside those that all cases share.
        parts: into which each of several devices cuts its share; one device never does (its
            step is the reference).
        rematerialize: whether several devices compute blocks twice; one device never does.
        clip_norm: small enough that it clips.
    """

    title: str
    flags: dict[str, Any]
    parts: int = 1
    rematerialize: bool = False
    clip_norm: float = 0.0


CASES = {
    "student": Case(
        "Mixer, two teachers at two sites (hard, confidence per example), MINE in every step, "
        "stochastic depth, L2, clipping, EMA",
        {
            **_STUDENT,
            "mine_weight": 0.2,
            "mine_learning_rate": CRITIC_LEARNING_RATE,
            "stochastic_depth": 0.3,
            "weight_decay": 0.05,
            "ema_decay": 0.9,
        },
        clip_norm=0.5,
    ),
    "accumulation": Case(
        "Mixer, two teachers, one of them at two sites (soft, confidence per batch), L2, clipping, "
        "EMA; in 2 parts per device and rematerialised, on one device neither",
        {
            **_STUDENT,
            "distillation": "soft",
            "temperature": 2.0,
            "teacher": ("first,site=both", "second,site=last"),
            "confidence_scope": "batch",
            "weight_decay": 0.05,
            "ema_decay": 0.9,
        },
        parts=2,
        rematerialize=True,
        clip_norm=0.5,
    ),
    "batch_norm": Case(
        "ResNet-8 (a teacher in training), synchronised BatchNorm, L2, clipping, EMA",
        {"model": "cifar_resnet20", "depth": 8, "weight_decay": 0.01, "ema_decay": 0.9},
        clip_norm=0.5,
    ),
    "mine_epoch": Case(
        "Mixer, two teachers, one step of MINE's epoch schedule",
        {
            **_STUDENT,
            "mine_weight": 0.5,
            "mine_schedule": "epoch",
            "mine_learning_rate": CRITIC_LEARNING_RATE,
            "mine_student_learning_rate": LEARNING_RATE,
        },
    ),
}


@dataclass(frozen=True)
class Outcome:
    """Arrays by the names of their variables.

    Attributes:
        start: before the first step.
        gradients: what the optimizers of the model and of the critics got in the first step,
            summed over devices and clipped; empty where there is no such optimizer.
        end: after all steps; also BatchNorm's statistics, both kinds of moving averages, and seeds.
        apart: variables of which two devices of this process hold other bits.
    """

    start: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]
    end: dict[str, np.ndarray]
    apart: tuple[str, ...]


class KeepingSGD(keras.optimizers.SGD):
    """Gradient descent that keeps the last gradient of every variable."""

    def build(self, variables: Sequence[keras.Variable]) -> None:
        super().build(variables)
        self.kept = [
            self.add_variable_from_reference(reference_variable=v, name="gradient")
            for v in variables
        ]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        self.assign(self.kept[self._get_variable_index(variable)], gradient)
        super().update_step(gradient, variable, learning_rate)


def load_digits() -> DataSet:
    """The data of all cases."""
    return build.load_data(TrainConfig(**_SMALL))


def take_steps(
    case: Case, *, steps: int, dataset: DataSet, strategy: tf.distribute.Strategy
) -> Outcome:
    """Trains in the precision of Keras' global dtype policy.

    MINE's epoch schedule takes one step, whatever `steps` says.
    """
    replicas = strategy.num_replicas_in_sync
    parts = case.parts if replicas > 1 else 1
    config = TrainConfig(
        **{**_SMALL, **case.flags},
        accumulation_steps=parts,
        rematerialize=case.rematerialize and replicas > 1,
    )
    config = resolve(config, image_size=8, horizontal_flip=False)
    shard = own_shard(strategy)
    with strategy.scope(), tempfile.TemporaryDirectory() as folder:
        state = start.create_state(config, dataset, LEARNING_RATE, RunDirectory(folder))
        _move_off_the_start(state)
        state.optimizer = KeepingSGD(LEARNING_RATE)
        state.optimizer.build(state.model.trainable_variables)
        if state.critic_optimizer is not None:
            state.critic_optimizer = KeepingSGD(CRITIC_LEARNING_RATE)
            state.critic_optimizer.build(state.critic_variables)
        before = _values(_everything(state))
        batches = iter(
            strategy.distribute_datasets_from_function(
                lambda _: stream.training_stream(config, dataset, shard=shard)
            )
        )
        gradients: dict[str, np.ndarray] = {}
        if config.mine.schedule == "epoch":
            create_epoch_step(state, strategy=strategy, options=config.mine)(next(batches))
        else:
            trainer = _trainer(case, config, dataset, state, strategy)
            trainer.call(batches, first_step=0, steps=1)
            gradients = _values(_gradients(state))
            if steps > 1:
                trainer.call(batches, first_step=1, steps=steps - 1)
        everything = _everything(state)
        return Outcome(before, gradients, _values(everything), _apart(everything, strategy))


def _trainer(
    case: Case,
    config: TrainConfig,
    dataset: DataSet,
    state: TrainState,
    strategy: tf.distribute.Strategy,
) -> Trainer:
    return Trainer(
        state=state,
        task=create_task(
            config.distillation,
            config.mine,
            state,
            prediction_format=prediction_format(config.distillation, dataset),
            teachers=[_teacher(index) for index in range(len(config.distillation.teachers))],
        ),
        strategy=strategy,
        options=StepOptions(
            batch_size=config.optimization.batch_size,
            accumulation_steps=config.optimization.accumulation_steps,
            clip_norm=case.clip_norm,
            l2=config.optimization.weight_decay or 0.0,
        ),
    )


def _teacher(index: int) -> Teacher:
    """A fixed matrix; the second one is less sure."""
    precision = keras.config.dtype_policy().compute_dtype
    matrix = np.random.default_rng(index).normal(0.0, 0.5 - 0.2 * index, (64, 10))
    weights = tf.constant(matrix, precision)
    return Teacher(
        name=f"matrix {index}",
        site="last",
        network=lambda v: tf.matmul(tf.reshape(tf.cast(v, precision), (-1, 64)), weights),
        scale=lambda pixels: pixels / 255.0,
        image_shape=(8, 8, 1),
        probabilities=False,
        compilable=True,
        label_names=None,
    )


def _move_off_the_start(state: TrainState) -> None:
    """So that no head is zero and no critic blind."""
    rng = np.random.default_rng(1)
    for variable in [*state.model.trainable_variables, *state.critic_variables]:
        variable.assign(variable.numpy() + rng.normal(0.0, 0.1, variable.shape))


def _everything(state: TrainState) -> dict[str, Any]:
    """Every variable that training changes."""
    # By number: Keras counts on in the names of critics and generators of seeds.
    found = {f"model {i} {v.name}": v for i, v in enumerate(state.model.variables)}
    for index, critic in enumerate(state.critics):
        found |= {f"critic {index} {i}": v for i, v in enumerate(critic.trainable_variables)}
    if state.log_averages is not None:
        found["MINE's moving averages"] = state.log_averages
    if state.average is not None:
        found |= {f"average {i}": v for i, v in enumerate(state.average.averages)}
    return found


def _gradients(state: TrainState) -> dict[str, Any]:
    found = {}
    pairs = [("model", state.optimizer, state.model.trainable_variables)]
    if state.critic_optimizer is not None:
        pairs.append(("critics", state.critic_optimizer, state.critic_variables))
    for what, optimizer, variables in pairs:
        for index, (kept, variable) in enumerate(zip(optimizer.kept, variables, strict=True)):
            found[f"{what} {index} {variable.name}"] = kept
    return found


def _values(variables: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.array(v.numpy()) for name, v in variables.items()}


def _apart(variables: dict[str, Any], strategy: tf.distribute.Strategy) -> tuple[str, ...]:
    found = []
    for name, variable in variables.items():
        inner = variable.value if isinstance(variable, keras.Variable) else variable
        copies = [c.numpy() for c in strategy.experimental_local_results(inner)]
        if any(not np.array_equal(c, copies[0]) for c in copies[1:]):
            found.append(name)
    return tuple(found)
