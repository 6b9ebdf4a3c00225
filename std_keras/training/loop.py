"""The training loop: the steps of a run, and what happens between them.

One loop trains students, baselines and teachers. It calls the step (`step.py`) between the events
that the calendar (`cadence.py`) names, and does there what the event asks for. What it works on is
put together by `assembly.py`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from std_keras import progress
from std_keras.errors import Interrupted, MachineError
from std_keras.training import feed
from std_keras.training.assembly import Training
from std_keras.training.cached_predictions import Stretch
from std_keras.training.checks import refuse_damaged_data
from std_keras.training.diagnosis import check_finite
from std_keras.training.finish import finish, keep_best
from std_keras.training.metrics import StepMeans, beside_training, by_path
from std_keras.training.stall import StallWarning
from std_keras.training.step import CallResult

_SUMS = "log_sums.json"  # Beside the checkpoints.
_PROFILE_AFTER = 20  # Steps; earlier ones hold tracing and warm-up.


class Loop:
    """The steps of one run, and what happens between them.

    Args:
        training: the run, put together.
    """

    def __init__(self, training: Training) -> None:
        self.training = training
        self.step = training.first_step
        self.train_seconds = training.checkpoints.seconds
        self.failed_saves = 0
        self._means = StepMeans()
        self._sums = training.run.checkpoints / _SUMS
        self._means.go_on(self._sums, step=self.step)
        self._global_norm = tf.function(tf.linalg.global_norm)  # Goes when the run goes.
        self._mine_batches: Iterator[Any] | None = None
        self._first_batch: list[Any] = []  # Of this process, until its images are shown.

    def run(
        self, stop: Callable[[], bool], *, started: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """Trains to the end and returns the result; calls `started` after the first step."""
        training = self.training
        options, total = training.config.run, training.cadence.total_steps
        self._begin()
        first = self.step
        stretch = Stretch(cached=False, end=first)  # Empty: the next one begins.
        bar = progress.Bar(
            total=total,
            done=first,
            what="train",
            unit_scale=training.config.optimization.batch_size,
        )
        stall = StallWarning(training.trainer.waiting, after=options.data_stall_seconds)
        with contextlib.closing(bar), stall:
            while self.step < total:
                if training.any_worker(stop()):  # So that all save the same step.
                    self._interrupt()
                self._profile(first)
                if self.step == stretch.end:
                    stretch, batches = self._next_stretch()
                    if self.step == first and training.chief:
                        batches = _with_first(batches, self._first_batch)
                result = self._call(batches, stretch)
                check_finite(result.last, training=training, step=self.step)
                if training.cache is not None:
                    training.cache.record(self.step - result.steps, result.predictions)
                bar.advance(result.steps, f"loss {result.last['loss/total']:.3f}")
                self._events()
                if self.step - result.steps == first:
                    started()
                    self._show_images(first)  # Not before: the first figures are waited for.
        if training.cache is not None:
            progress.say(training.cache.summary())
        with self._reading():
            return finish(training, step=self.step, train_seconds=self.train_seconds)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """For what reads data: says which file cannot be read."""
        try:
            yield
        except tf.errors.OpError as error:
            refuse_damaged_data(self.training.dataset, error)
            raise

    def _begin(self) -> None:
        """Shows what the run is, and makes what is not needed for steps."""
        training, options = self.training, self.training.config.run
        if not self.step:
            training.writer.config(training.config)
        left = training.cadence.total_steps - self.step
        if options.profile_steps and 0 < left <= _PROFILE_AFTER:
            progress.warn(
                f"profile_steps={options.profile_steps}: only {left} steps are left, and the first "
                f"{_PROFILE_AFTER} of a process are not profiled"
            )
        if training.mine_step is not None:
            self._mine_batches = feed.mine_batches(
                training.config,
                training.dataset,
                strategy=training.strategy,
                shard=training.shard,
                epoch=self.step // training.cadence.steps_per_epoch,
            )

    def _show_images(self, step: int) -> None:
        """Shows the batch that was trained on after `step` steps: of a cluster the chief's part."""
        if not self._first_batch:
            return
        images = self._first_batch.pop()["images"]
        parts = self.training.strategy.experimental_local_results(images)
        self.training.writer.images(np.concatenate([p.numpy() for p in parts]), step=step)

    def _next_stretch(self) -> tuple[Stretch, Iterator[Any]]:
        training = self.training
        if training.begun:
            return training.begun.pop()
        return feed.stretch_batches(
            training.config,
            training.dataset,
            strategy=training.strategy,
            shard=training.shard,
            cache=training.cache,
            teachers=training.trainer.task.teachers,
            step=self.step,
            total_steps=training.cadence.total_steps,
            view_sizes=training.larger_views,
        )

    def _call(self, batches: Iterator[Any], stretch: Stretch) -> CallResult:
        """Takes the steps until something else is to be done."""
        training = self.training
        steps = min(training.cadence.next_stop(self.step), stretch.end) - self.step
        if self.step == training.first_step:
            steps = min(steps, 1)  # It holds the tracing; then the bar moves, and Ctrl-C is heard.
        began = time.monotonic()
        with self._reading():
            try:
                result = training.trainer.call(batches, first_step=self.step, steps=steps)
            except tf.errors.OpError:
                if training.cache is not None:
                    training.cache.find_damage(self.step, stretch)
                raise
        seconds = time.monotonic() - began
        self.train_seconds += seconds
        self.step += result.steps
        self._means.add(result, seconds)
        return result

    def _events(self) -> None:
        """What the calendar asks for after `self.step` steps."""
        training, cadence = self.training, self.training.cadence
        epoch = self.step / cadence.steps_per_epoch
        if cadence.logs(self.step):
            values = self._means.means(training.config.optimization.batch_size)
            values["learning_rate"] = float(training.schedule(self.step - 1))  # Of the last step.
            values["norm/parameters"] = self._parameter_norm()
            training.writer.scalars("train", step=self.step, epoch=epoch, values=values)
        if cadence.ends_epoch(self.step) and training.mine_step and self._mine_batches:
            with self._reading():
                batch = next(self._mine_batches)
            values = training.mine_step(batch)
            check_finite(values, training=training, step=self.step, in_step=False)
            training.writer.scalars("train", step=self.step, epoch=epoch, values=values)
        at_end = self.step == cadence.total_steps
        if cadence.evaluates(self.step) or (at_end and training.dataset.validation is not None):
            self._evaluate(epoch)
        if cadence.saves(self.step):
            self._save(failures_allowed=training.config.run.save_failures_allowed)

    def _evaluate(self, epoch: float) -> None:
        """Evaluates on the held-out part if there is one, else on the test split, to watch it."""
        training, evaluators = self.training, self.training.evaluators
        part = "validation" if training.dataset.validation is not None else "test"
        with self._reading():
            accuracies = evaluators.run(part)
        values = by_path(accuracies) | beside_training(accuracies[evaluators.kept_weights])
        training.writer.scalars("eval", step=self.step, epoch=epoch, values=values)
        training.writer.tokens(training.state.model, step=self.step)
        shown = ", ".join(f"{w} {h[evaluators.head].top1:.4f}" for w, h in accuracies.items())
        if training.config.run.best_by == "balanced_accuracy":
            own = accuracies[evaluators.kept_weights][evaluators.head]
            shown += f", balanced {own.balanced_accuracy:.4f}"
        progress.say(
            f"epoch {epoch:g}/{training.config.optimization.epochs}: "
            f"{part} top-1 of the {evaluators.head} head: {shown}"
        )
        if part == "validation":
            keep_best(training, accuracies[evaluators.kept_weights][evaluators.head])

    def _save(self, *, failures_allowed: int = 0) -> None:
        training = self.training
        try:
            if training.cache is not None:
                training.cache.flush()
            training.checkpoints.save(step=self.step, seconds=self.train_seconds)
            if training.chief:
                self._means.keep(self._sums, step=self.step)
            self.failed_saves = 0
        except (MachineError, OSError) as error:
            self.failed_saves += 1
            if self.failed_saves > failures_allowed:
                raise
            progress.warn(
                f"{error} (continuing without it: save_failures_allowed={failures_allowed}, "
                f"failure {self.failed_saves} in a row)"
            )

    def _interrupt(self) -> None:
        training = self.training
        self._save()
        training.any_worker(False)  # All workers wait here until all have saved.
        raise Interrupted(
            f"interrupted after step {self.step} of {training.cadence.total_steps}; a checkpoint "
            f"is saved in {training.run.checkpoints}; run the same command to continue"
        )

    def _profile(self, first: int) -> None:
        """Starts and stops the profiler between calls."""
        steps, done = self.training.config.run.profile_steps, self.step - first
        if steps and done >= _PROFILE_AFTER + steps:
            self.training.writer.stop_profile()
        elif steps and done >= _PROFILE_AFTER:
            self.training.writer.start_profile()

    def _parameter_norm(self) -> float:
        variables = self.training.state.model.trainable_variables
        return float(self._global_norm([v.value for v in variables]))


def _with_first(batches: Iterator[Any], kept: list[Any]) -> Iterator[Any]:
    """The batches; the first is put into `kept`, too."""
    kept.append(next(batches))
    yield kept[0]
    yield from batches
