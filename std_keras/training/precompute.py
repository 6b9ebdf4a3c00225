"""Fills a teacher cache ahead of training, with the teachers alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from std_keras import progress
from std_keras.config import TrainConfig, resolve
from std_keras.data import DataSet
from std_keras.errors import InputError, Interrupted, NonFiniteError
from std_keras.teachers import Teacher
from std_keras.teachers.cache import PredictionCache
from std_keras.teachers.predictions import CONFIDENCE, predict
from std_keras.training import build, stream, teacher_views
from std_keras.training.cached_predictions import Recorder, open_cache
from std_keras.training.checks import check_devices, check_sizes
from std_keras.training.host_predictions import with_host_predictions
from std_keras.training.strategy import create_strategy, own_shard


def precompute(config: TrainConfig, *, stop: Callable[[], bool] = lambda: False) -> dict[str, Any]:
    """Computes the missing teacher predictions of a configuration, for all its epochs.

    With `augmentation_views` the views of that many epochs are enough. The files are those that
    training would write, byte for byte on the same devices.

    Args:
        config: the configuration of the training run; options of the student are not used.
        stop: called after each step; once true, the work ends. Finished steps are kept.

    Returns:
        `folder`, `views` (cached now), `computed` (by this call), `bytes_per_view`.

    Raises:
        InputError: if the configuration, the data or the cache cannot be used.
        Interrupted: because `stop()` was true.
        NonFiniteError: if a teacher's prediction is NaN.
        MachineError: if the cache could not be written.
    """
    if config.distillation.teacher_cache is None:
        raise InputError("`teacher_cache` is missing; name the folder to fill")
    if not config.distillation.uses_teachers:
        raise InputError("distillation=none uses no teacher; use hard or soft, as in training")
    strategy = create_strategy(
        config.performance.strategy,
        logical_cpus=config.performance.logical_cpus,
        cluster_wait_seconds=config.performance.cluster_wait_seconds,
        stop=stop,
    )
    shard = own_shard(strategy)
    if shard.local_replicas < shard.replicas:
        raise InputError("precompute runs in one process; run it without TF_CONFIG")
    dataset = build.load_data(config, progress=progress.stoppable(stop))
    config = resolve(
        config, image_size=dataset.image_shape[0], horizontal_flip=dataset.horizontal_flip
    )
    check_devices(config, strategy)
    check_sizes(config, dataset)
    with strategy.scope():
        sizes = teacher_views.view_sizes(config, dataset)
        for line in teacher_views.describe(config, dataset, sizes):
            progress.say(line)
        cache = open_cache(config, dataset, view_sizes=sizes)
        assert cache is not None
        return _fill(cache, config, dataset, strategy, sizes, stop)


def _fill(
    cache: PredictionCache,
    config: TrainConfig,
    dataset: DataSet,
    strategy: tf.distribute.Strategy,
    view_sizes: Sequence[int],
    stop: Callable[[], bool],
) -> dict[str, Any]:
    epochs = min(
        config.data.augmentation_views or config.optimization.epochs, config.optimization.epochs
    )
    steps = epochs * cache.grid.steps_per_epoch
    chunks = list(cache.grid.chunks(0, steps))
    todo = [chunk for chunk in chunks if cache.missing(chunk)]
    left, batch = sum(chunk.steps for chunk in todo), config.optimization.batch_size
    result = {
        "folder": str(cache.path),
        "views": steps * batch,
        "computed": left * batch,
        "bytes_per_view": cache.bytes_per_view,
    }
    progress.say(
        f"teacher cache {cache.path}: {(steps - left) * batch:,} of {steps * batch:,} views are "
        f"cached ({cache.bytes_per_view:.1f} bytes each)"
    )
    if not todo:
        return result
    loaded = build.load_teachers(
        config.distillation, dataset, performance=config.performance, view_sizes=view_sizes
    )
    larger = teacher_views.larger(view_sizes, dataset)
    teacher_views.hold(config, dataset, larger, stop=stop)
    predicted = _predictor(loaded, cache, config, strategy)
    cache.begin()
    recorder = Recorder(cache)
    bar = progress.Bar(total=steps, done=steps - left, what="teachers", unit_scale=batch)
    batches: Iterator[Any] | None = None
    upcoming = -1
    try:
        for chunk in todo:
            first = chunk.first + recorder.begun(chunk)
            bar.advance(first - chunk.first)
            if batches is None or first != upcoming:
                batches = iter(_distributed(config, dataset, strategy, loaded, first, larger))
            upcoming = chunk.first + chunk.steps
            for position in range(first, upcoming):
                if stop():
                    recorder.flush()
                    raise Interrupted(
                        f"interrupted; {recorder.stored:,} views were stored in {cache.path}; run "
                        "the same command to continue"
                    )
                predictions = predicted(next(batches))
                _check_finite(predictions, loaded, position)
                recorder.add(position, predictions)
                bar.advance(1)
    finally:
        bar.close()
    return result


def _predictor(
    teachers: list[Teacher],
    cache: PredictionCache,
    config: TrainConfig,
    strategy: tf.distribute.Strategy,
) -> Callable[[Any], dict[str, np.ndarray]]:
    """A function from a distributed batch to the predictions (B, M, ...) of all its views."""
    if config.performance.jit_compile:
        teachers = [teacher.compiled() for teacher in teachers]

    def of_replica(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return predict(teachers, batch, cache.form)

    @tf.function(reduce_retracing=True, autograph=False)
    def step(batch: Any) -> dict[str, tf.Tensor]:
        predictions = strategy.run(of_replica, args=(batch,))
        return {
            name: tf.concat(strategy.experimental_local_results(values), axis=0)
            for name, values in predictions.items()
        }

    return lambda batch: {name: values.numpy() for name, values in step(batch).items()}


def _distributed(
    config: TrainConfig,
    dataset: DataSet,
    strategy: tf.distribute.Strategy,
    teachers: list[Teacher],
    start: int,
    view_sizes: Sequence[int],
) -> tf.distribute.DistributedDataset:
    shard = own_shard(strategy)
    return strategy.distribute_datasets_from_function(
        lambda _: with_host_predictions(
            stream.batches(config, dataset, start_step=start, shard=shard, view_sizes=view_sizes),
            teachers,
            local_replicas=shard.local_replicas,
        )
    )


def _check_finite(
    predictions: Mapping[str, np.ndarray], teachers: list[Teacher], step: int
) -> None:
    good = np.isfinite(predictions[CONFIDENCE]).all(axis=0)
    for teacher, finite in zip(teachers, good, strict=True):
        if not finite:
            raise NonFiniteError(
                f"the teacher {teacher.name} returned a non-finite value at step {step} of the "
                "stream; use another teacher"
            )
