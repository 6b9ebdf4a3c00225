"""The training loop: from a configuration to a finished run directory.

One loop trains students, baselines and teachers. It calls the step (`step.py`) between the events
that the calendar (`cadence.py`) names, and does there what the event asks for.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from std_keras import models, progress, teachers
from std_keras.config import TrainConfig, resolve
from std_keras.data import DataSet, Shard
from std_keras.errors import InputError, Interrupted, MachineError, NonFiniteError
from std_keras.runs.evaluation import Accuracy, Evaluator
from std_keras.runs.run_directory import RunDirectory, replace_atomically
from std_keras.training import build, optimizers, start, stream
from std_keras.training.cached_predictions import (
    CachedPredictions,
    Segment,
    prediction_format,
    open_cache,
)
from std_keras.training.cadence import Cadence
from std_keras.training.checkpoints import Checkpoints
from std_keras.training.checks import (
    check_devices,
    check_same_run,
    refuse_damaged_data,
    slow_choice,
)
from std_keras.training.metric_writer import MetricWriter
from std_keras.training.metrics import StepMeans, by_path
from std_keras.training.mine_epoch import create_epoch_step
from std_keras.training.objectives import create_objective
from std_keras.training.stall import StallWarning
from std_keras.training.state import TrainState
from std_keras.training.step import CallResult, StepOptions, Trainer
from std_keras.training.strategy import (
    create_strategy,
    in_cluster,
    is_chief,
    own_shard,
    own_signal_handlers,
    reason,
)

_PROFILE_AFTER = 20  # Steps; earlier ones hold tracing and warm-up.
# What the collective operations of the others raise when a worker has gone.
_LOST_WORKER = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
_MINE_SEED = 1_000_003  # Keeps the samples of MINE's epoch schedule apart from the batches.


def train(
    config: TrainConfig, *, model_dir: str | Path, stop: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Trains a model, or continues an interrupted run, and writes its run directory.

    Args:
        config: what to do.
        model_dir: the run directory.
        stop: asked between calls; once true, a checkpoint is saved and the run ends.

    Returns:
        What `result.json` holds.

    Raises:
        InputError: if something asked for cannot be done.
        Interrupted: after a checkpoint was saved because `stop()` was true.
        NonFiniteError: if a loss is NaN or infinite.
        MachineError: if a checkpoint could not be written, or a worker of the cluster was lost.
    """
    strategy = create_strategy(
        config.performance.strategy, logical_cpus=config.performance.logical_cpus
    )
    chief = is_chief(strategy)
    run = RunDirectory(model_dir)
    if chief:
        run.prepare()
    try:
        return _train(config, run=run, strategy=strategy, chief=chief, stop=stop)
    except _LOST_WORKER as error:
        if not in_cluster(strategy):
            raise
        raise MachineError(
            f"a worker of the cluster was lost or cannot be reached ({reason(error)})"
            "; start all workers again with the same command to continue from the last checkpoint"
        ) from error
    finally:
        run.release()


def _train(
    config: TrainConfig,
    *,
    run: RunDirectory,
    strategy: tf.distribute.Strategy,
    chief: bool,
    stop: Callable[[], bool],
) -> dict[str, Any]:
    dataset = build.load_data(config, progress=progress.track)
    for name in dataset.skipped:
        progress.warn(f"{name} cannot be read as an image and is left out")
    config = resolve(
        config, image_size=dataset.image_shape[0], horizontal_flip=dataset.horizontal_flip
    )
    check_devices(config, strategy)
    if run.exists():
        check_same_run(run, config, dataset)
        if run.result_file.is_file() and run.model_file.is_file():
            progress.say(f"{run.path} is a finished run; nothing to do")
            return run.read_result()
    slow = slow_choice(config, strategy)
    if slow:
        progress.warn(slow)
    with strategy.scope():
        with own_signal_handlers():
            loop = Loop(config=config, dataset=dataset, run=run, strategy=strategy, chief=chief)
        if chief and not run.exists():
            run.write_start(
                config,
                label_names=dataset.label_names,
                architecture=loop.state.model.to_json(),
                examples=dataset.sizes,
            )
        try:
            return loop.run(stop)
        finally:
            loop.watch.close()


class Loop:
    """One run; everything is made in the constructor, inside the strategy's scope."""

    def __init__(
        self,
        *,
        config: TrainConfig,
        dataset: DataSet,
        run: RunDirectory,
        strategy: tf.distribute.Strategy,
        chief: bool,
    ) -> None:
        self.config, self.dataset, self.strategy, self.chief = config, dataset, strategy, chief
        self.run_directory = run
        steps_per_epoch = dataset.train.size // config.optimization.batch_size
        if not steps_per_epoch:
            raise InputError(
                f"--batch_size={config.optimization.batch_size} is larger than the training set of "
                f"{dataset.train.size} examples"
            )
        if config.mine.weight and config.mine.schedule == "epoch":
            if config.mine.samples > dataset.train.size:
                raise InputError(
                    f"--mine_samples={config.mine.samples} is larger than the training set of "
                    f"{dataset.train.size} examples"
                )
        self.cadence = Cadence(
            steps_per_epoch=steps_per_epoch,
            total_steps=steps_per_epoch * config.optimization.epochs,
            log_every=config.run.log_every_steps,
            evaluate_every=steps_per_epoch * config.run.evaluate_every_epochs,
            checkpoint_every=config.run.checkpoint_every_steps or steps_per_epoch,
            steps_per_call=config.performance.steps_per_call,
        )
        peak, floor = config.optimization.applied_learning_rates()
        if config.optimization.learning_rate_batch_size:
            progress.say(
                f"learning rate {peak:g}: --learning_rate={config.optimization.learning_rate:g} x "
                f"{config.optimization.batch_size}/"
                f"{config.optimization.learning_rate_batch_size} images"
            )
        self.schedule = optimizers.learning_rate_schedule(
            peak=peak,
            floor=floor,
            warmup_steps=round((config.optimization.warmup_epochs or 0) * steps_per_epoch),
            total_steps=self.cadence.total_steps,
        )
        cache = open_cache(config, dataset)
        self.state = start.create_state(config, dataset, self.schedule, run)
        replicas = strategy.num_replicas_in_sync
        self.shard = own_shard(strategy)
        self.mine_step = None
        if self.state.critics and config.mine.schedule == "epoch":
            assert config.mine.learning_rate is not None
            self.mine_step = create_epoch_step(
                self.state,
                strategy=strategy,
                samples=config.mine.samples,
                weight=config.mine.weight,
                critic_learning_rate=config.mine.learning_rate,
                student_learning_rate=config.mine.student_learning_rate,
                bias_correction=config.mine.bias_correction,
            )
        self.head = build.default_head(self.state.model)
        self.evaluators: dict[str, Evaluator] = {}
        self.heads = models.heads_model(self.state.model)
        self.kept = models.without_auxiliaries(self.state.model)
        self.checkpoints = Checkpoints(
            run.checkpoints, self.state, keep=config.run.keep_checkpoints, chief=chief
        )
        self.step = self.checkpoints.restore()
        self.labels: CachedPredictions | None = None
        teachers_needed = True
        if cache is not None:
            self.labels = CachedPredictions(
                cache,
                period=stream.period(config, dataset),
                total_steps=self.cadence.total_steps,
                shard=self.shard,
            )
            read_only = config.distillation.teacher_cache_mode == "read"
            teachers_needed = not self.labels.prepare(self.step, read_only=read_only)
        self.trainer = Trainer(
            state=self.state,
            objective=create_objective(config, self.state.model),
            teachers=build.load_teachers(config, dataset) if teachers_needed else [],
            strategy=strategy,
            options=StepOptions(
                batch_size=config.optimization.batch_size,
                accumulation_steps=config.optimization.accumulation_steps,
                clip_norm=config.optimization.clip_norm,
                l2=config.optimization.weight_decay
                if config.optimization.optimizer == "sgd"
                else 0.0,
                mine_weight=config.mine.weight if config.mine.schedule == "step" else 0.0,
                mine_bias_correction=config.mine.bias_correction,
                jit_compile=config.performance.jit_compile,
            ),
            prediction_format=prediction_format(config, dataset),
            record=cache is not None,
        )
        self.watch = MetricWriter(
            run, step=self.step, enabled=chief, may_fail=config.run.save_failures_allowed > 0
        )
        self.train_seconds = self.checkpoints.seconds
        self.failed_saves = 0
        if self.step:
            progress.say(f"continuing {run.path} after step {self.step}")
        progress.say(
            f"{config.model.name}: {models.trainable_parameters(self.state.model):,} trainable "
            f"parameters; {self.cadence.total_steps} steps of "
            f"{config.optimization.batch_size} images, "
            f"{replicas} replica(s)"
        )

    def run(self, stop: Callable[[], bool]) -> dict[str, Any]:
        """Trains to the end and returns the result."""
        if not self.step:
            self.watch.config(self.config)
        left = self.cadence.total_steps - self.step
        if self.config.run.profile_steps and 0 < left <= _PROFILE_AFTER:
            progress.warn(
                f"--profile_steps={self.config.run.profile_steps}: only {left} steps are left, and "
                f"the first {_PROFILE_AFTER} of a process are not recorded"
            )
        self._show_images()
        segment = Segment(cached=False, end=self.step)  # Empty: the next one begins.
        mine_batches = iter(self._mine_batches()) if self.mine_step else None
        bar = progress.Bar(
            total=self.cadence.total_steps,
            done=self.step,
            what="train",
            unit_scale=self.config.optimization.batch_size,
        )
        gathered = StepMeans()
        first = self.step
        stall = StallWarning(self.trainer.waiting, after=self.config.run.data_stall_seconds)
        with contextlib.closing(bar), stall:
            while self.step < self.cadence.total_steps:
                if self._agree(stop()):
                    self._interrupt()
                self._profile(first)
                if self.step == segment.end:
                    segment, iterator = self._next_segment()
                began = time.monotonic()
                result = self._call(iterator, segment)
                elapsed = time.monotonic() - began
                self.train_seconds += elapsed
                self.step += result.steps
                self._check_finite(result.last)
                if self.labels is not None:
                    self.labels.record(self.step - result.steps, result.labels)
                gathered.add(result, elapsed)
                bar.advance(result.steps, f"loss {result.last['loss/total']:.3f}")
                self._events(gathered, mine_batches)
        if self.labels is not None:
            progress.say(self.labels.summary())
        return self._finish()

    def _call(self, iterator: Iterator[Any], segment: Segment) -> CallResult:
        """The steps until something else is to be done."""
        steps = min(self.cadence.next_stop(self.step), segment.end) - self.step
        try:
            return self.trainer.call(iterator, first_step=self.step, steps=steps)
        except tf.errors.OpError as error:
            if self.labels is not None:
                self.labels.find_damage(self.step, segment)
            refuse_damaged_data(self.dataset, error)
            raise

    def _events(self, gathered: StepMeans, mine_batches: Iterator[Any] | None) -> None:
        """What the calendar asks for after `self.step` steps."""
        cadence, epoch = self.cadence, self.step / self.cadence.steps_per_epoch
        if cadence.logs(self.step):
            values = gathered.means(self.config.optimization.batch_size)
            values["learning_rate"] = float(self.schedule(self.step))
            values["norm/parameters"] = self._parameter_norm()
            self.watch.scalars("train", step=self.step, epoch=epoch, values=values)
        if cadence.ends_epoch(self.step) and self.mine_step and mine_batches:
            values = self.mine_step(next(mine_batches))
            self._check_finite(values, in_step=False)
            self.watch.scalars("train", step=self.step, epoch=epoch, values=values)
        at_end = self.step == cadence.total_steps
        if cadence.evaluates(self.step) or (at_end and self.dataset.validation is not None):
            self._evaluate_and_show(epoch)
        if cadence.saves(self.step):
            self._save(failures_allowed=self.config.run.save_failures_allowed)

    def _evaluate_and_show(self, epoch: float) -> None:
        """Evaluates on the held-out part if there is one, else on the test split, to watch it."""
        part = "validation" if self.dataset.validation is not None else "test"
        figures = self._evaluate(part)
        self.watch.scalars("eval", step=self.step, epoch=epoch, values=by_path(figures))
        self.watch.tokens(self.state.model, step=self.step)
        shown = ", ".join(f"{w} {h[self.head].top1:.4f}" for w, h in figures.items())
        progress.say(
            f"epoch {epoch:g}/{self.config.optimization.epochs}: "
            f"{part} top-1 of the {self.head} head: {shown}"
        )
        if part == "validation":
            weights = _kept_weights(self.state)
            self._keep_best(figures[weights][self.head].top1)

    def _evaluate(self, part: str) -> dict[str, dict[str, Accuracy]]:
        """Figures by weights (raw, ema) and head."""
        if part not in self.evaluators:
            source = getattr(self.dataset, part)
            self.evaluators[part] = Evaluator(
                self.heads,
                source=source,
                batch_size=self.config.performance.evaluation_batch_size
                or self.config.optimization.batch_size,
                strategy=self.strategy,
                shard=self.shard,
            )
        figures = {"raw": self.evaluators[part].run()}
        if self.state.average is not None:
            with self.state.average.in_place():
                figures["ema"] = self.evaluators[part].run()
        return figures

    def _keep_best(self, top1: float) -> None:
        if top1 <= self.checkpoints.best:
            return
        self.checkpoints.best = top1
        if not self.chief:
            return
        if self.state.average is None:
            replace_atomically(self.run_directory.best_model_file, self.kept.save)
            return
        with self.state.average.in_place():
            replace_atomically(self.run_directory.best_model_file, self.kept.save)

    def _finish(self) -> dict[str, Any]:
        """Evaluates on the test split and writes the model and the result."""
        epoch = float(self.config.optimization.epochs)
        figures = self._evaluate("test")
        values = {f"test/{name}": value for name, value in by_path(figures).items()}
        self.watch.scalars("eval", step=self.step, epoch=epoch, values=values)
        self.watch.tokens(self.state.model, step=self.step)
        weights = _kept_weights(self.state)
        kept = figures[weights]
        result = {
            "top1": kept[self.head].top1,
            "top5": kept[self.head].top5,
            "head": self.head,
            "weights": weights,
            "heads": {head: accuracy.as_dict() for head, accuracy in kept.items()},
            "parameters": models.trainable_parameters(self.kept),
            "steps": self.step,
            "epochs": self.config.optimization.epochs,
            "images_per_second": self.step
            * self.config.optimization.batch_size
            / self.train_seconds,
            "train_seconds": self.train_seconds,
        }
        with contextlib.suppress(
            ValueError
        ):  # A backbone of the user's may hold what is not counted.
            result["macs"] = models.multiply_accumulates(self.heads)
        if weights == "ema":
            result["raw_heads"] = {h: accuracy.as_dict() for h, accuracy in figures["raw"].items()}
        if self.dataset.validation is not None:
            result["best_validation_top1"] = self.checkpoints.best
        if self.chief:
            if self.state.average is not None:
                self.state.average.copy_to_model()
            replace_atomically(self.run_directory.model_file, self.kept.save)
            self.run_directory.write_result(result)
        self._agree(False)  # Nobody leaves while the chief still writes.
        progress.say(
            f"finished: test top-1 {result['top1']:.4f}, top-5 {result['top5']:.4f} "
            f"({self.head} head, {weights} weights); {self.run_directory.model_file}"
        )
        return result

    def _save(self, *, failures_allowed: int = 0) -> None:
        try:
            if self.labels is not None:
                self.labels.flush()
            self.checkpoints.save(step=self.step, seconds=self.train_seconds)
            self.failed_saves = 0
        except (MachineError, OSError) as error:
            self.failed_saves += 1
            if self.failed_saves > failures_allowed:
                raise
            progress.warn(
                f"{error} (--save_failures_allowed={failures_allowed}: going on without, failure "
                f"{self.failed_saves} in a row)"
            )

    def _interrupt(self) -> None:
        self._save()
        self._agree(False)  # All workers wait here until all have saved.
        raise Interrupted(
            f"interrupted after step {self.step} of {self.cadence.total_steps}; a checkpoint is "
            f"saved in {self.run_directory.checkpoints}; run the same command to continue"
        )

    def _check_finite(self, figures: Mapping[str, float], *, in_step: bool = True) -> None:
        """Stops before a checkpoint is saved."""
        names = [name for name, value in figures.items() if not math.isfinite(value)]
        if names:
            saved = f"{self._save_batch()}; " if in_step else ""
            advice = (
                self._broken_teachers(names) or "try a smaller --learning_rate or --clip_norm=1"
            )
            raise NonFiniteError(
                f"{', '.join(names)} became non-finite at step {self.step}; the last good "
                f"checkpoint is {self.checkpoints.latest or 'none'}; {saved}{advice}"
            )

    def _broken_teachers(self, names: Sequence[str]) -> str:
        """Which teachers are to blame, and what to do; empty if none is."""
        broken = []
        for index, text in enumerate(self.config.distillation.teachers):
            if f"teacher_{index}/entropy" in names:
                source = teachers.parse(text).source
                broken.append(f"--teacher={source} returned numbers that are not finite")
        if not broken:
            return ""
        return f"{' and '.join(broken)}; mend or leave out the teacher or the images it fails on"

    def _save_batch(self) -> str:
        """Keeps the batch of the step that went wrong, and says how it is replayed."""
        if not self.chief:
            return "the chief saved its batch"
        batch = next(
            iter(
                stream.training_stream(
                    self.config, self.dataset, start_step=self.step - 1, shard=Shard()
                )
            )
        )
        file = self.run_directory.nonfinite_batch_file(self.step)
        try:
            with open(file, "wb") as opened:
                np.savez(opened, **{name: value.numpy() for name, value in batch.items()})
        except OSError as error:
            return f"its batch could not be saved ({error})"
        return (
            f"its batch is in {file}; "
            f"std-keras replay --model_dir={self.run_directory.path} shows what broke"
        )

    def _next_segment(self) -> tuple[Segment, Iterator[Any]]:
        """The steps that come, and their batches: with labels if the cache has them."""
        step, labels = self.step, self.labels
        segment = Segment(cached=False, end=self.cadence.total_steps)
        if labels is not None:
            segment = labels.segment(step)

        def batches(_: Any) -> tf.data.Dataset:
            images = stream.training_stream(
                self.config, self.dataset, start_step=step, shard=self.shard
            )
            if labels is None or not segment.cached:
                return images
            both = tf.data.Dataset.zip(images, labels.labels(step, segment))
            merged = both.map(lambda batch, said: {**batch, **said})
            return merged.prefetch(2)

        return segment, iter(self.strategy.distribute_datasets_from_function(batches))

    def _mine_batches(self) -> tf.distribute.DistributedDataset:
        # One batch an epoch, which no teacher sees; it never repeats.
        return self.strategy.distribute_datasets_from_function(
            lambda _: stream.batches(
                self.config,
                self.dataset,
                start_step=self.step // self.cadence.steps_per_epoch,
                shard=self.shard,
                batch_size=self.config.mine.samples,
                data_seed=self.config.data.data_seed + _MINE_SEED,
            )
        )

    def _show_images(self) -> None:
        batches = stream.training_stream(
            self.config, self.dataset, start_step=self.step, shard=Shard()
        )
        try:
            batch = next(iter(batches))
        except tf.errors.OpError as error:
            refuse_damaged_data(self.dataset, error)
            raise
        self.watch.images(batch["images"].numpy(), step=self.step)

    def _profile(self, first: int) -> None:
        """Starts and stops the profiler between calls."""
        done = self.step - first
        if self.config.run.profile_steps and done >= _PROFILE_AFTER + self.config.run.profile_steps:
            self.watch.stop_profile()
        elif self.config.run.profile_steps and done >= _PROFILE_AFTER:
            self.watch.start_profile()

    def _parameter_norm(self) -> float:
        return float(_global_norm([v.value for v in self.state.model.trainable_variables]))

    def _agree(self, stopping: bool) -> bool:
        """Whether any worker of the cluster was asked to stop, so that all save the same step."""
        if self.shard.local_replicas == self.shard.replicas:
            return stopping
        mine_ = tf.constant(1.0 if stopping else 0.0)
        everybody = self.strategy.run(lambda: mine_)
        return bool(self.strategy.reduce("SUM", everybody, axis=None) > 0)


@tf.function(reduce_retracing=True)
def _global_norm(tensors: list[tf.Tensor]) -> tf.Tensor:
    return tf.linalg.global_norm(tensors)


def _kept_weights(state: TrainState) -> str:
    """The weights that `model.keras` gets."""
    return "raw" if state.average is None else "ema"
