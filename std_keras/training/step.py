"""One training step on every replica, and many of them in one call into TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from std_keras.teachers import Teacher
from std_keras.teachers.predictions import NAMES, PredictionFormat, teachers_first
from std_keras.training import optimizers
from std_keras.training.gradients import gradients_or_zeros
from std_keras.training.information import mutual_information
from std_keras.training.objective import Objective
from std_keras.training.replica_batch import with_static_size
from std_keras.training.stall import WaitingStep
from std_keras.training.state import TrainState


@dataclass(frozen=True)
class StepOptions:
    """What shapes a step besides the objective.

    Attributes:
        batch_size: over all replicas.
        accumulation_steps: parts into which a replica cuts its share of the batch.
        clip_norm: largest global norm of the gradient over all replicas; 0 for no clipping.
        l2: weight of the L2 gradient term (0 with decoupled weight decay).
        mine_weight: weight of the mutual information in the student's loss; 0 for none.
        mine_bias_correction: whether the moving average corrects the gradient of the bound.
        jit_compile: whether XLA compiles the step.
    """

    batch_size: int
    accumulation_steps: int = 1
    clip_norm: float = 0.0
    l2: float = 0.0
    mine_weight: float = 0.0
    mine_bias_correction: bool = True
    jit_compile: bool = False


@dataclass(frozen=True)
class CallResult:
    """What one call of several steps returns.

    Attributes:
        steps: steps done; fewer than asked for if a figure became non-finite.
        totals: by name, the sum over the steps of each figure's mean over the global batch.
        last: the figures of the last step.
        finite: whether all figures were finite.
        wait_seconds: time spent waiting for data.
        labels: by name, what the teachers said, (steps, B, M, ...); empty unless the trainer
            records them.
    """

    steps: int
    totals: dict[str, float]
    last: dict[str, float]
    finite: bool
    wait_seconds: float
    labels: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class Trainer:
    """Runs training steps; see `call`.

    Attributes:
        state: what is trained.
        objective: its loss.
        teachers: in the order of the objective's heads; those that have labelled all batches
            ahead of time (see `PredictionFormat`) are not needed.
        strategy: where it runs.
        options: see `StepOptions`.
        prediction_format: how batches hold labels; float32 and everything if None.
        record: whether `call` returns what the teachers said; not for clusters.
        waiting: says at any time which step waits for its batch.
    """

    state: TrainState
    objective: Objective
    teachers: Sequence[Teacher]
    strategy: tf.distribute.Strategy
    options: StepOptions
    prediction_format: PredictionFormat | None = None
    record: bool = False
    waiting: WaitingStep = field(default_factory=WaitingStep)
    _names: tuple[str, ...] = field(init=False)
    _many: Callable[..., Any] = field(init=False)
    _apply: Callable[..., tf.Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self._names = (*self.objective.metric_names(), *self._mine_names(), "norm/gradient")
        self._apply = self._update
        if self.options.jit_compile:
            self._apply = tf.function(self._update, jit_compile=True)
            self.teachers = [teacher.compiled() for teacher in self.teachers]
        self._many = tf.function(self._many_steps, reduce_retracing=True)

    def call(self, iterator: Iterator[Any], *, first_step: int, steps: int) -> CallResult:
        """Does `steps` steps with the next batches of `iterator`.

        Args:
            iterator: of a distributed data set.
            first_step: steps that were done before.
            steps: how many to do; it stops at the first non-finite figure.
        """
        done, totals, last, wait, labels = self._many(
            iterator, tf.constant(first_step, tf.int64), tf.constant(steps, tf.int64)
        )
        last = dict(zip(self._names, last.numpy().tolist(), strict=True))
        return CallResult(
            steps=int(done),
            totals=dict(zip(self._names, totals.numpy().tolist(), strict=True)),
            last=last,
            finite=all(-float("inf") < v < float("inf") for v in last.values()),
            wait_seconds=float(wait),
            labels={name: value.numpy() for name, value in labels.items()},
        )

    def _mine_names(self) -> tuple[str, ...]:
        return tuple(f"mine/{name}" for name in self.state.token_sets) if self._mine_on else ()

    @property
    def _mine_on(self) -> bool:
        return self.options.mine_weight > 0 and bool(self.state.critics)

    def _many_steps(
        self, iterator: Iterator[Any], first: tf.Tensor, steps: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
        arrays = self._label_arrays(iterator, steps)
        done = tf.constant(0, tf.int64)
        totals = tf.zeros(len(self._names))
        last = tf.zeros(len(self._names))
        wait = tf.constant(0.0, tf.float64)
        finite = tf.constant(True)
        while tf.logical_and(done < steps, finite):
            with tf.control_dependencies([totals]):
                began = tf.timestamp()
                waits = self.waiting.set(first + done + 1)
            with tf.control_dependencies([began, waits]):
                batch = next(iterator)
            with tf.control_dependencies(tf.nest.flatten(self._local(batch))):
                # The only clock of a graph is the wall clock, which may be set back.
                waited = tf.maximum(tf.timestamp() - began, 0.0)
                idle = self.waiting.set(tf.constant(0, tf.int64))
            with tf.control_dependencies([idle]):
                waited = tf.identity(waited)
            wait += waited
            per_replica, labels = self.strategy.run(self._replica_step, args=(batch, waited))
            arrays = {
                name: array.write(tf.cast(done, tf.int32), self._joined(labels[name]))
                for name, array in arrays.items()
            }
            last = self.strategy.reduce("SUM", per_replica, axis=None)
            if self.state.average is not None:
                self.state.average.update(first + done)
            finite = tf.reduce_all(tf.math.is_finite(last))
            totals += last
            done += 1
        return done, totals, last, wait, {name: a.stack() for name, a in arrays.items()}

    def _label_arrays(self, iterator: Any, steps: tf.Tensor) -> dict[str, tf.TensorArray]:
        """Where the labels of a call are gathered; none if they are not recorded."""
        if not self.record or set(NAMES) & set(iterator.element_spec):
            return {}
        heads = len(self.teachers)
        example = self._format.encode(tf.zeros((1, heads, self._format.num_classes)))
        return {
            name: tf.TensorArray(
                value.dtype,
                size=tf.cast(steps, tf.int32),
                # All of it, so that steps that a non-finite figure prevented are zeros.
                element_shape=(self.options.batch_size, *value.shape[1:]),
            )
            for name, value in example.items()
        }

    def _joined(self, values: Any) -> tf.Tensor:
        """Values of all replicas of this process as one batch."""
        return tf.concat(self.strategy.experimental_local_results(values), axis=0)

    def _local(self, batch: Any) -> Any:
        return self.strategy.experimental_local_results(batch["targets"])

    # Only the loop over steps needs AutoGraph, which takes 2 of 15 seconds to trace Mixer-S/4.
    @tf.autograph.experimental.do_not_convert
    def _replica_step(
        self, batch: Mapping[str, tf.Tensor], waited: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """One replica's share of a step; returns its shares of the figures, and its labels."""
        # Or one thread computes the step first, and looks at the clock after it.
        with tf.control_dependencies([waited]):
            batch = {name: tf.identity(value) for name, value in batch.items()}
        batch = with_static_size(batch, batch_size=self.options.batch_size, strategy=self.strategy)
        labels = {name: batch[name] for name in NAMES if name in batch}
        if self.teachers and not labels:
            # Outside the compiled part: a SavedModel may hold operations that XLA does not know.
            # And so labels have the same bits whether they come from a cache or not.
            logits = [teacher.logits(batch["images"]) for teacher in self.teachers]
            labels = self._format.encode(tf.stack(logits, axis=1))
        return self._apply(batch["images"], batch["targets"], labels), labels

    @property
    def _format(self) -> PredictionFormat:
        if self.prediction_format is not None:
            return self.prediction_format
        classes = int(self.state.outputs.output["classification"].shape[-1])
        return PredictionFormat(num_classes=classes, soft=self.objective.kind == "soft")

    @tf.autograph.experimental.do_not_convert
    def _update(
        self, images: tf.Tensor, targets: tf.Tensor, labels: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        state, options = self.state, self.options
        sum_up = self._sum_over_replicas()
        parts: dict[str, tf.Tensor] = {"images": tf.cast(images, tf.float32), "targets": targets}
        if labels:
            precise = self.state.outputs.output["classification"].dtype
            for name, value in self._format.decode(labels).items():
                parts[name] = tf.cast(value, precise) if value.dtype.is_floating else value
            weights = self.objective.teacher_weights(teachers_first(parts), batch_reduce=sum_up)
            parts["weights"] = tf.transpose(weights)  # Batch first, as all parts.
        gradients, figures = self._accumulated(parts)

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
        # Keras' optimizers sum over replicas once more; the gradients are sums already.
        state.optimizer.apply([g / replicas for g in model_gradients], variables)
        if critic_gradients:
            assert state.critic_optimizer is not None
            # The loss holds +mine_weight * V, and the critic ascends on V.
            scale = -1.0 / (options.mine_weight * replicas)
            state.critic_optimizer.apply(
                [g * scale for g in critic_gradients], state.critic_variables
            )
        return tf.concat([figures, [tf.cast(norm / replicas, tf.float32)]], axis=0)

    def _accumulated(self, parts: dict[str, tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Gradients and figures of this replica's whole share, part by part."""
        pieces = self.options.accumulation_steps
        if pieces == 1:
            return self._gradients(parts)
        size = parts["targets"].shape[0] // pieces
        variables = [*self.state.model.trainable_variables, *self.state.critic_variables]
        cut = {
            name: tf.reshape(value, (pieces, size, *value.shape[1:]))
            for name, value in parts.items()
        }
        gradients = [tf.zeros(v.shape, v.dtype) for v in variables[: self._gradient_count()]]
        figures = tf.zeros(len(self._names) - 1)

        def add(sums: tuple[list[tf.Tensor], tf.Tensor], part: dict[str, tf.Tensor]) -> Any:
            return tf.nest.map_structure(tf.add, sums, self._gradients(part))

        if self.strategy.num_replicas_in_sync == 1:
            # A loop in the graph keeps the graph small.
            return tf.foldl(add, cut, initializer=(gradients, figures), parallel_iterations=1)
        # But in one a replica cannot wait for the others.
        sums = (gradients, figures)
        for piece in range(pieces):
            sums = add(sums, {name: value[piece] for name, value in cut.items()})
        return sums

    def _gradient_count(self) -> int:
        count = len(self.state.model.trainable_variables)
        return count + len(self.state.critic_variables) if self._mine_on else count

    def _gradients(self, part: dict[str, tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Gradients of one part, scaled so that the sum over parts and replicas is the mean."""
        state, options = self.state, self.options
        teachers = weights = None
        if "weights" in part:
            teachers, weights = teachers_first(part), tf.transpose(part["weights"])
        with tf.GradientTape() as tape:
            outputs = state.outputs(part["images"], training=True)
            loss, figures = self.objective.compute(
                outputs, part["targets"], teachers=teachers, weights=weights
            )
            objective = tf.reduce_sum(loss) / options.batch_size
            information = tf.zeros(0)
            if self._mine_on:
                surrogate, information, log_averages = mutual_information(
                    state,
                    outputs,
                    global_batch_size=options.batch_size // options.accumulation_steps,
                    bias_correction=options.mine_bias_correction,
                    sum_over_replicas=self._sum_over_replicas() or (lambda value: value),
                )
                weight = options.mine_weight / options.accumulation_steps
                objective += weight * tf.cast(surrogate, objective.dtype)
        variables = list(state.model.trainable_variables)
        if self._mine_on:
            assert state.log_averages is not None
            state.log_averages.assign(log_averages)
            variables += state.critic_variables
        gradients = gradients_or_zeros(tape, objective, variables)
        shares = [
            tf.cast(tf.reduce_sum(value), tf.float32) / options.batch_size
            for value in figures.values()
        ]
        parts = options.accumulation_steps * self.strategy.num_replicas_in_sync
        # The estimate is the same on every replica; the shares must sum to it.
        return gradients, tf.concat(
            [tf.stack(shares), tf.cast(information, tf.float32) / parts], axis=0
        )

    def _sum_over_replicas(self) -> Callable[[tf.Tensor], tf.Tensor] | None:
        if self.strategy.num_replicas_in_sync == 1:
            return None
        return lambda value: tf.distribute.get_replica_context().all_reduce("SUM", value)
