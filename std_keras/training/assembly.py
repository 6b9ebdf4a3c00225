"""A run put together from its configuration, for the loop, a replay, or a benchmark of the step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from std_keras import models, progress
from std_keras.config import TrainConfig
from std_keras.data import DataSet, Shard
from std_keras.errors import InputError, Interrupted
from std_keras.runs.run_directory import RunDirectory
from std_keras.teachers import Teacher, parse
from std_keras.teachers.identity import runs_on_host
from std_keras.training import build, feed, optimizers, start, stream, teacher_views
from std_keras.training.cached_predictions import (
    CachedPredictions,
    Stretch,
    open_cache,
    prediction_format,
)
from std_keras.training.cadence import Cadence
from std_keras.training.check_teacher import check_before_training
from std_keras.training.checkpoints import Checkpoints
from std_keras.training.checks import check_sizes
from std_keras.training.evaluators import Evaluators
from std_keras.training.metric_writer import MetricWriter
from std_keras.training.mine_epoch import create_epoch_step
from std_keras.training.objectives import create_task
from std_keras.training.state import TrainState
from std_keras.training.step import StepOptions, Trainer
from std_keras.training.strategy import own_shard


@dataclass(frozen=True)
class Training:
    """Everything that a run consists of.

    Attributes:
        config: what is done, resolved.
        dataset: on what.
        run: where it is written.
        strategy: on which devices.
        chief: whether this process writes.
        shard: the replicas that this process feeds.
        cadence: when things happen.
        schedule: the learning rate by step.
        state: what training changes.
        trainer: the step, with the task as its attribute.
        mine_step: the step of MINE's epoch schedule, if that is chosen.
        checkpoints: from which `state` was restored.
        first_step: steps that were done before.
        cache: the teachers' predictions on disk, if a folder for them is named.
        teacher_predictions: where they come from: "computed", "read" from the cache, "mixed" if a
            run with a cache was continued, or "none".
        evaluators: of the model.
        writer: of the metrics; to be closed.
        view_sizes: for each teacher, the side of what it sees.
        larger_views: the sizes of views that a batch needs besides the student's images, if
            teachers predict for it.
        begun: the first stretch and its batches, if they were begun; the loop takes them out, so
            that they go when they are used up.
    """

    config: TrainConfig
    dataset: DataSet
    run: RunDirectory
    strategy: tf.distribute.Strategy
    chief: bool
    shard: Shard
    cadence: Cadence
    schedule: keras.optimizers.schedules.LearningRateSchedule
    state: TrainState
    trainer: Trainer
    mine_step: Callable[[Mapping[str, tf.Tensor]], dict[str, float]] | None
    checkpoints: Checkpoints
    first_step: int
    cache: CachedPredictions | None
    teacher_predictions: str
    evaluators: Evaluators
    writer: MetricWriter
    view_sizes: tuple[int, ...]
    larger_views: tuple[int, ...]
    begun: list[tuple[Stretch, Any]]

    def any_worker(self, truth: bool) -> bool:
        """Whether it is true in any worker of the cluster; all wait here for each other."""
        if self.shard.local_replicas == self.shard.replicas:
            return truth
        own = tf.constant(1.0 if truth else 0.0)
        return bool(self.strategy.reduce("SUM", self.strategy.run(lambda: own), axis=None) > 0)


def assemble(
    config: TrainConfig,
    dataset: DataSet,
    run: RunDirectory,
    *,
    strategy: tf.distribute.Strategy,
    chief: bool = True,
    begin: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Training:
    """Makes all parts of a run and restores its newest checkpoint; call it inside the strategy's
    scope.

    Args:
        config: a configuration that `config.resolve` has filled in.
        dataset: its data.
        run: the run directory; need not exist if this process is not the chief.
        strategy: where it runs.
        chief: whether this process writes to the run directory.
        begin: whether the loop follows, so that the first batches and the graph of the step are
            made while teachers are tried.
        stop: asked before the step is traced, if that is done here under teachers, and between the
            batches that teachers are tried on and views are decoded of.

    Raises:
        InputError: if something asked for cannot be done.
        Interrupted: because `stop()` was true.
    """
    check_sizes(config, dataset)
    steps_per_epoch = stream.steps_per_epoch(config, dataset)
    cadence = Cadence(
        steps_per_epoch=steps_per_epoch,
        total_steps=steps_per_epoch * config.optimization.epochs,
        log_every=config.run.log_every_steps,
        evaluate_every=steps_per_epoch * config.run.evaluate_every_epochs,
        checkpoint_every=config.run.checkpoint_every_steps or steps_per_epoch,
        steps_per_call=config.performance.steps_per_call,
    )
    schedule = optimizers.create_schedule(config.optimization, steps_per_epoch=steps_per_epoch)
    sizes = teacher_views.view_sizes(config, dataset, run=run)
    for line in teacher_views.describe(config, dataset, sizes):
        progress.say(line)
    stored = open_cache(config, dataset, view_sizes=sizes)
    state = start.create_state(config, dataset, schedule, run)
    shard = own_shard(strategy)
    mine_step = None
    if state.critics and config.mine.schedule == "epoch":
        mine_step = create_epoch_step(state, strategy=strategy, options=config.mine)
    evaluators = Evaluators(
        state,
        dataset=dataset,
        batch_size=config.performance.evaluation_batch_size or config.optimization.batch_size,
        strategy=strategy,
        shard=shard,
    )
    checkpoints = Checkpoints(
        run.checkpoints,
        state,
        keep=config.run.keep_checkpoints,
        chief=chief,
        worker=shard.first_replica,
    )
    first_step = checkpoints.restore()
    cache, teachers_needed = None, True
    if stored is not None:
        cache = CachedPredictions(
            stored,
            period=stream.period(config, dataset),
            total_steps=cadence.total_steps,
            shard=shard,
        )
        read_only = config.distillation.teacher_cache_mode == "read"
        teachers_needed = not cache.prepare(first_step, read_only=read_only)
    loaded, larger_views = [], teacher_views.larger(sizes, dataset)
    begun: list[tuple[Stretch, Any]] = []
    waits = teachers_needed and _waits_for_teachers(config, larger_views)
    if begin and first_step < cadence.total_steps and not waits:
        # TensorFlow makes the first batches while all that follows is made.
        begun.append(
            feed.stretch_batches(
                config,
                dataset,
                strategy=strategy,
                shard=shard,
                cache=cache,
                teachers=(),
                step=first_step,
                total_steps=cadence.total_steps,
                view_sizes=larger_views,
            )
        )
    if teachers_needed:
        loaded = build.load_teachers(
            config.distillation, dataset, performance=config.performance, view_sizes=sizes
        )
        _refuse_in_cluster(loaded, shard)
    task = create_task(
        config.distillation,
        config.mine,
        state,
        prediction_format=prediction_format(config.distillation, dataset),
        teachers=loaded,
        class_weights=build.class_weights(config, dataset),
        label_smoothing=config.augmentation.label_smoothing or 0.0,
    )
    trainer = Trainer(
        state=state,
        task=task,
        strategy=strategy,
        options=_step_options(config),
        record=cache is not None,
    )
    if first_step:
        progress.say(f"continuing {run.path} after step {first_step}")
    _describe(config, state, cadence, replicas=strategy.num_replicas_in_sync)
    if loaded and begun and stop():
        raise Interrupted("interrupted before the first step; run the same command again")
    if begun:
        trainer.make_ready(begun[0][1].element_spec)
    # While TensorFlow optimises the graph of the step.
    if chief and not first_step:
        check_before_training(loaded, config, dataset, view_sizes=larger_views, stop=stop)
    if teachers_needed:
        teacher_views.hold(config, dataset, larger_views, stop=stop)
    writer = MetricWriter(
        run, step=first_step, enabled=chief, may_fail=config.run.save_failures_allowed > 0
    )
    return Training(
        config=config,
        dataset=dataset,
        run=run,
        strategy=strategy,
        chief=chief,
        shard=shard,
        cadence=cadence,
        schedule=schedule,
        state=state,
        trainer=trainer,
        mine_step=mine_step,
        checkpoints=checkpoints,
        first_step=first_step,
        cache=cache,
        teacher_predictions=_origin(
            config, cached=cache is not None, read=not teachers_needed, continued=first_step > 0
        ),
        evaluators=evaluators,
        writer=writer,
        view_sizes=sizes,
        larger_views=larger_views,
        begun=begun,
    )


def _waits_for_teachers(config: TrainConfig, larger_views: Sequence[int]) -> bool:
    """Whether the stream of batches can begin only when the teachers are there: they predict in
    it, or their views are to be in memory first."""
    options = config.distillation
    followed = options.teachers if options.uses_teachers else ()
    return bool(larger_views) or any(runs_on_host(parse(teacher)) for teacher in followed)


def _origin(config: TrainConfig, *, cached: bool, read: bool, continued: bool) -> str:
    """See `Training.teacher_predictions`."""
    if not config.distillation.uses_teachers:
        return "none"
    if cached and continued:
        return "mixed"
    return "read" if read else "computed"


def _refuse_in_cluster(loaded: Sequence[Teacher], shard: Shard) -> None:
    """A process sees its part of a batch alone, and predictions must not depend on the parts."""
    hosted = [teacher.name for teacher in loaded if teacher.on_host]
    if hosted and shard.local_replicas < shard.replicas:
        raise InputError(
            f"teacher={hosted[0]} runs outside TensorFlow, which a cluster cannot wait for; name a "
            "`teacher_cache` and fill it first with std-keras precompute, in one process"
        )


def _step_options(config: TrainConfig) -> StepOptions:
    options = config.optimization
    return StepOptions(
        batch_size=options.batch_size,
        accumulation_steps=options.accumulation_steps,
        clip_norm=options.clip_norm,
        l2=(options.weight_decay or 0.0) if options.optimizer == "sgd" else 0.0,
        jit_compile=config.performance.jit_compile,
    )


def _describe(config: TrainConfig, state: TrainState, cadence: Cadence, *, replicas: int) -> None:
    options = config.optimization
    if options.learning_rate_batch_size:
        peak, _ = options.applied_learning_rates()
        progress.say(
            f"learning rate {peak:g}: learning_rate={options.learning_rate:g} x "
            f"{options.batch_size}/{options.learning_rate_batch_size} images"
        )
    progress.say(
        f"{config.model.name}: {models.trainable_parameters(state.model):,} trainable parameters; "
        f"{cadence.total_steps} steps of {options.batch_size} images, {replicas} replica(s)"
    )
