"""One training step on every replica, and calls of several.

The step knows nothing of the loss (`task.py`): it cuts the batch into parts, adds up gradients and
metrics over parts and replicas, clips, and applies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras import background, xla_cache
from std_keras.teachers.predictions import NAMES
from std_keras.training import optimizers
from std_keras.training.gradients import gradients_or_zeros
from std_keras.training.replica_batch import with_static_size
from std_keras.training.stall import WaitingStep
from std_keras.training.state import TrainState
from std_keras.training.task import BatchShare, DistillationTask


@dataclass(frozen=True)
class StepOptions:
    """What shapes a step besides the task.

    Attributes:
        batch_size: over all replicas.
        accumulation_steps: parts into which a replica cuts its share of the batch.
        clip_norm: largest global norm of the gradient over all replicas; 0 for no clipping.
        l2: weight of the L2 gradient term (0 with decoupled weight decay).
        jit_compile: whether XLA compiles the step.
    """

    batch_size: int
    accumulation_steps: int = 1
    clip_norm: float = 0.0
    l2: float = 0.0
    jit_compile: bool = False


@dataclass(frozen=True)
class CallResult:
    """What one call of several steps returns.

    Attributes:
        steps: steps done; fewer than asked for if a metric became non-finite.
        totals: by name, the sum over the steps of each metric's mean over the global batch.
        last: the metrics of the last step.
        finite: whether all metrics were finite.
        wait_seconds: time spent waiting for data.
        predictions: by name, the teachers' predictions, (steps, B, M, ...); empty unless the
            trainer records them.
    """

    steps: int
    totals: dict[str, float]
    last: dict[str, float]
    finite: bool
    wait_seconds: float
    predictions: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class Trainer:
    """Runs training steps; see `call`.

    Attributes:
        state: what is trained.
        task: its loss, and the teachers.
        strategy: where it runs.
        options: see `StepOptions`.
        record: whether `call` returns what the teachers predict; not for clusters.
        waiting: tells at any time which step waits for its batch.
        looks_ahead: whether the steps of a call are started without looking at their figures, so
            that a GPU has the next one before it is done with the last; by default on GPUs.
    """

    state: TrainState
    task: DistillationTask
    strategy: tf.distribute.Strategy
    options: StepOptions
    record: bool = False
    waiting: WaitingStep = field(default_factory=WaitingStep)
    looks_ahead: bool = field(
        default_factory=lambda: bool(tf.config.list_logical_devices("GPU")), kw_only=True
    )
    _names: tuple[str, ...] = field(init=False)
    _one: Any = field(init=False)
    _ready: Future[None] | None = field(default=None, init=False)
    _apply: Callable[..., tf.Tensor] = field(init=False)
    _move_average: Callable[..., None] | None = field(init=False)

    def __post_init__(self) -> None:
        self._names = (*self.task.metric_names(), "norm/gradient")
        self._apply = self._update
        average = self.state.average
        self._move_average = average.update if average is not None else None
        if self.options.jit_compile:
            self._apply = xla_cache.compiled(self._update)
            self.task = self.task.compiled()
            if average is not None and self.strategy.num_replicas_in_sync == 1:
                # Else a GPU starts some thousand small operations after every step.
                self._move_average = xla_cache.compiled(average.update)
        self._one = tf.function(self._step, autograph=False, reduce_retracing=True)

    def make_ready(self, batch: Any) -> None:
        """Traces the step, and has its graph optimised while the caller goes on.

        It changes nothing but when this is done: with the first step otherwise. Only where one
        CPU trains; other devices place the graph's inputs differently.

        Args:
            batch: the specs of the tensors that `call` will get.
        """
        one_cpu = self.strategy.num_replicas_in_sync == 1 and not self.looks_ahead
        if one_cpu and not tf.config.functions_run_eagerly():
            step = self._one.get_concrete_function(batch, tf.TensorSpec((), tf.int64))
            self._ready = background.optimize_graph(step)

    def call(self, iterator: Iterator[Any], *, first_step: int, steps: int) -> CallResult:
        """Does `steps` steps with the next batches of `iterator`.

        Args:
            iterator: of a distributed data set.
            first_step: steps that were done before.
            steps: how many to do, one at least; it stops at the first non-finite metric.
        """
        rows, predicted, wait = [], [], 0.0
        if self._ready is not None:
            self._ready.result()
            self._ready = None
        for number in range(first_step, first_step + steps):
            began = time.monotonic()
            with self.waiting.named(number + 1):
                batch = next(iterator)
            wait += time.monotonic() - began
            row, predictions = self._one(batch, tf.constant(number, tf.int64))
            rows.append(row)
            predicted.append(predictions)
            if not (self.looks_ahead or np.isfinite(row.numpy()).all()):
                break
        # In float64 the sums do not depend on how steps are shared out among calls.
        figures = np.stack([row.numpy() for row in rows]).astype(np.float64)
        wrong = np.flatnonzero(~np.isfinite(figures).all(axis=1))
        if wrong.size:
            figures = figures[: wrong[0] + 1]
        last = dict(zip(self._names, figures[-1].tolist(), strict=True))
        return CallResult(
            steps=len(figures),
            totals=dict(zip(self._names, figures.sum(axis=0).tolist(), strict=True)),
            last=last,
            finite=not wrong.size,
            wait_seconds=wait,
            predictions={
                name: np.stack([one[name].numpy() for one in predicted]) for name in predicted[0]
            },
        )

    def _step(self, batch: Any, number: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """One step, which `number` others came before: its metrics, and what is recorded."""
        per_replica, predictions = self.strategy.run(self._replica_step, args=(batch,))
        if self._move_average is not None:
            self._move_average(number)
        recorded = {}
        if self.record and not set(NAMES) & set(batch):
            recorded = {name: self._joined(value) for name, value in predictions.items()}
        return self.strategy.reduce("SUM", per_replica, axis=None), recorded

    def _joined(self, values: Any) -> tf.Tensor:
        """Values of all replicas of this process as one batch."""
        return tf.concat(self.strategy.experimental_local_results(values), axis=0)

    def _replica_step(
        self, batch: Mapping[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """One replica's share of a step; returns its shares of the metrics, and what the teachers
        predict for its images."""
        batch = with_static_size(batch, batch_size=self.options.batch_size, strategy=self.strategy)
        # Outside the compiled part: a SavedModel may hold operations that XLA does not know.
        predictions = self.task.predictions(batch)
        return self._apply(batch["images"], batch["targets"], predictions), predictions

    @tf.autograph.experimental.do_not_convert
    def _update(
        self, images: tf.Tensor, targets: tf.Tensor, predictions: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        state, options = self.state, self.options
        batch = self.task.prepared(
            images,
            targets,
            predictions,
            dtype=state.outputs.output["classification"].dtype,
            sum_over_replicas=self._sum_over_replicas(),
        )
        gradients, metrics = self._accumulated(batch)

        variables = state.model.trainable_variables
        count = len(variables)
        replicas = self.strategy.num_replicas_in_sync
        if replicas > 1:
            gradients = tf.distribute.get_replica_context().all_reduce("SUM", gradients)
        model_gradients, critic_gradients = gradients[:count], gradients[count:]
        norm = tf.linalg.global_norm(model_gradients)
        if options.clip_norm:
            model_gradients = optimizers.clip_by_global_norm(
                model_gradients, norm, options.clip_norm
            )
        if options.l2:
            model_gradients = optimizers.add_l2(model_gradients, variables, options.l2)
        if replicas > 1:
            # Keras' optimizers sum over replicas once more; the gradients are sums already.
            model_gradients = [g / replicas for g in model_gradients]
        state.optimizer.apply(model_gradients, variables)
        information = self.task.information
        if information is not None:
            assert state.critic_optimizer is not None
            # The loss holds + weight * V, and the critics ascend on V.
            scale = -1.0 / (information.weight * replicas)
            state.critic_optimizer.apply(
                [g * scale for g in critic_gradients], state.critic_variables
            )
        return tf.concat([metrics, [tf.cast(norm / replicas, tf.float32)]], axis=0)

    def _accumulated(self, batch: dict[str, tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Gradients and metrics of this replica's whole share, part by part."""
        parts = self.options.accumulation_steps
        if parts == 1:
            return self._gradients(batch)
        size = batch["targets"].shape[0] // parts
        cut = {
            name: tf.reshape(value, (parts, size, *value.shape[1:]))
            for name, value in batch.items()
        }
        gradients = [tf.zeros(v.shape, v.dtype) for v in self._variables()]
        metrics = tf.zeros(len(self._names) - 1)

        def add(sums: tuple[list[tf.Tensor], tf.Tensor], part: dict[str, tf.Tensor]) -> Any:
            return tf.nest.map_structure(tf.add, sums, self._gradients(part))

        if self.strategy.num_replicas_in_sync == 1:
            # A loop in the graph keeps the graph small.
            return tf.foldl(add, cut, initializer=(gradients, metrics), parallel_iterations=1)
        # But in one a replica cannot wait for the others.
        sums = (gradients, metrics)
        for part in range(parts):
            sums = add(sums, {name: value[part] for name, value in cut.items()})
        return sums

    def _variables(self) -> list[keras.Variable]:
        """What the loss is differentiated by: the student, and the critics of the loss."""
        critics = self.state.critic_variables if self.task.information is not None else []
        return [*self.state.model.trainable_variables, *critics]

    def _gradients(self, part: dict[str, tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Gradients of one part, scaled so that the sum over parts and replicas is the mean."""
        share = BatchShare(
            batch_size=self.options.batch_size,
            parts=self.options.accumulation_steps,
            replicas=self.strategy.num_replicas_in_sync,
            sum_over_replicas=self._sum_over_replicas(),
        )
        with tf.GradientTape() as tape:
            outputs = self.state.outputs(part["images"], training=True)
            result = self.task.loss(outputs, part, share=share)
        if result.log_averages is not None:
            assert self.state.log_averages is not None
            self.state.log_averages.assign(result.log_averages)
        return gradients_or_zeros(tape, result.loss, self._variables()), result.metrics

    def _sum_over_replicas(self) -> Callable[[tf.Tensor], tf.Tensor] | None:
        if self.strategy.num_replicas_in_sync == 1:
            return None
        return lambda value: tf.distribute.get_replica_context().all_reduce("SUM", value)
