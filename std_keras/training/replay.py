"""Replays the steps that led to a non-finite value, and finds where it first appeared."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras import progress
from std_keras.config import resolve
from std_keras.data import Shard
from std_keras.errors import InputError, Interrupted
from std_keras.files.archive import check_arrays
from std_keras.runs.run_directory import RunDirectory
from std_keras.training import build, feed, stream
from std_keras.training.assembly import assemble
from std_keras.training.gradients import gradients_or_zeros
from std_keras.training.strategy import create_strategy


def replay(
    model_dir: str | Path,
    *,
    step: int = 0,
    dataset: str | None = None,
    data_dir: str | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Trains on from the last good checkpoint, step by step, on one device, and saves nothing.

    Args:
        model_dir: a run that became non-finite.
        step: where to stop, counted from 1; 0 for the latest step whose batch the run kept.
        dataset: where the run's images are now; None for where they were.
        data_dir: where TFDS keeps its prepared sets; None for the run's own.
        stop: called after each step; once true, it ends.

    Returns:
        `steps` with the metrics of each repeated step; `finite`, whether all of them were finite;
        `same_batch`, whether the step's batch is, pixel by pixel, the one that the run kept (None
        if it kept none); and, if not finite, what `first_broken` says, and `teachers`, for each
        one the positions in the batch for which it returned numbers that are not finite.

    Raises:
        InputError: if the run kept no batch and no step was given, or the step is not ahead of the
            last good checkpoint.
        Interrupted: because `stop()` was true.
    """
    run = RunDirectory(model_dir)
    config = run.read_config()
    if data_dir is not None:
        config = config.replace(data_dir=data_dir)
    config = build.at_place(config, run, dataset)
    step = step or _kept_step(run)
    # What was computed on many devices is repeated on one; the batches are the same.
    # Teachers predict again, whatever a cache holds.
    config = config.replace(strategy="one_device", logical_cpus=0, teacher_cache=None)
    strategy = create_strategy("one_device")
    data = build.load_data(config, stratified=run.stratified(), progress=progress.stoppable(stop))
    config = resolve(config, image_size=data.image_shape[0], horizontal_flip=data.horizontal_flip)
    with strategy.scope():
        training = assemble(config, data, run, strategy=strategy, chief=False, stop=stop)
        first, model = training.first_step, training.state.model
        if not first < step <= training.cadence.total_steps:
            raise InputError(
                f"step={step} must be after the last good checkpoint, of step {first}, and at most "
                f"{training.cadence.total_steps}"
            )
        batches = iter(
            strategy.distribute_datasets_from_function(
                lambda _: stream.training_stream(
                    config,
                    data,
                    start_step=first,
                    shard=Shard(),
                    view_sizes=training.larger_views,
                )
            )
        )
        mine_batches: Iterator[Any] = iter(())
        if training.mine_step is not None:
            mine_batches = feed.mine_batches(
                config,
                data,
                strategy=strategy,
                shard=Shard(),
                epoch=first // training.cadence.steps_per_epoch,
            )
        metrics: dict[int, Mapping[str, float]] = {}
        bar = progress.Bar(
            total=step - first, what="replay", unit_scale=config.optimization.batch_size
        )
        try:
            for done in range(first, step):
                if stop():
                    raise Interrupted(f"interrupted before step {done + 1}; nothing was changed")
                before = [v.numpy() for v in model.variables]
                result = training.trainer.call(batches, first_step=done, steps=1)
                metrics[done + 1] = result.last
                bar.advance(1, f"loss {result.last['loss/total']:.3f}")
                if not result.finite:
                    break
                if training.mine_step and training.cadence.ends_epoch(done + 1):
                    training.mine_step(next(mine_batches))
        finally:
            bar.close()
        last = max(metrics)
        batch = feed.one_batch(config, data, step=last - 1, view_sizes=training.larger_views)
        report: dict[str, Any] = {
            "steps": metrics,
            "finite": result.finite,
            "same_batch": _same(run.nonfinite_batch_file(last), batch),
        }
        if not result.finite:
            for variable, value in zip(model.variables, before, strict=True):
                variable.assign(value)
            report["first_broken"] = first_broken(model, batch["images"], batch["targets"])
            report["teachers"] = {
                teacher.name: teacher.not_finite(batch[teacher.view])
                for teacher in training.trainer.task.teachers
            }
    return report


def first_broken(model: keras.Model, images: tf.Tensor, targets: tf.Tensor) -> dict[str, Any]:
    """Where numbers that are not finite appear for one batch.

    Args:
        model: with the weights from before the step.
        images: (B, H, W, C).
        targets: (B, K), of the cross-entropy whose gradients are checked.

    Returns:
        `weights`: variables that are not finite before the step; `layer`: the first layer whose
        output is not, or None; `examples`: positions in the batch for which it is not;
        `gradients`: variables whose gradient is not; `largest`: the greatest absolute finite value
        among the outputs of each layer.
    """
    bad_weights = [v.path for v in model.variables if not np.isfinite(v.numpy()).all()]
    named = [
        (layer.name, output)
        for layer in model.layers
        for output in tf.nest.flatten(layer.output)
        if not isinstance(layer, keras.layers.InputLayer)
    ]
    inside = keras.Model(model.inputs, [output for _, output in named])
    pixels = tf.cast(images, tf.float32)
    broken: str | None = None
    examples: list[int] = []
    largest: dict[str, float] = {}
    with tf.GradientTape() as tape:
        outputs = tf.nest.flatten(inside(pixels, training=True))
        logits = tf.cast(outputs[-1], tf.float32)
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
    for (name, _), output in zip(named, outputs, strict=True):
        values = tf.cast(output, tf.float32).numpy().reshape(len(pixels), -1)
        finite = np.isfinite(values)
        largest[name] = max(largest.get(name, 0.0), float(np.abs(values[finite]).max(initial=0.0)))
        if broken is None and not finite.all():
            broken, examples = name, np.flatnonzero(~finite.all(axis=1)).tolist()
    variables = list(model.trainable_variables)
    gradients = gradients_or_zeros(tape, loss, variables)
    return {
        "weights": bad_weights,
        "layer": broken,
        "examples": examples,
        "gradients": [
            v.path
            for v, g in zip(variables, gradients, strict=True)
            if not np.isfinite(g.numpy()).all()
        ],
        "largest": largest,
    }


def _kept_step(run: RunDirectory) -> int:
    steps = [
        int(found[1])
        for file in run.path.glob("nonfinite_step_*.npz")
        if (found := re.fullmatch(r"nonfinite_step_(\d+)\.npz", file.name))
    ]
    if not steps:
        raise InputError(
            f"model_dir={run.path} has no saved batch of a non-finite step; give `step`"
        )
    return max(steps)


def _same(file: Path, batch: Mapping[str, tf.Tensor]) -> bool | None:
    """Whether a kept batch is this one; arrays only, nothing in the file is executed."""
    if not file.is_file():
        return None
    try:
        check_arrays(file)
        with np.load(file, allow_pickle=False) as kept:
            return all(np.array_equal(kept[name], batch[name].numpy()) for name in batch)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{file} is not a saved batch: {error}") from error
