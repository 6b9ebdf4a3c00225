"""The batches of a run on its devices: images, and the predictions that a cache or the host has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from std_keras.config import TrainConfig
from std_keras.data import DataSet, Shard
from std_keras.teachers import Teacher
from std_keras.training import stream
from std_keras.training.cached_predictions import CachedPredictions, Stretch
from std_keras.training.host_predictions import with_host_predictions

_MINE_SEED = 1_000_003  # Keeps the samples of MINE's epoch schedule apart from the batches.


def stretch_batches(
    config: TrainConfig,
    dataset: DataSet,
    *,
    strategy: tf.distribute.Strategy,
    shard: Shard,
    cache: CachedPredictions | None,
    teachers: Sequence[Teacher],
    step: int,
    total_steps: int,
    view_sizes: Sequence[int],
) -> tuple[Stretch, Iterator[Any]]:
    """The steps that come after `step`, and their batches: with predictions if the cache has
    those of all of them, else with the teachers' views, and with what is predicted on the host."""
    stretch = Stretch(cached=False, end=total_steps)
    if cache is not None:
        stretch = cache.stretch(step)

    def batches(_: Any) -> tf.data.Dataset:
        images = stream.training_stream(
            config,
            dataset,
            start_step=step,
            shard=shard,
            view_sizes=() if stretch.cached else view_sizes,
        )
        if cache is None or not stretch.cached:
            return with_host_predictions(images, teachers, local_replicas=shard.local_replicas)
        both = tf.data.Dataset.zip(images, cache.predictions(step, stretch))
        merged = both.map(lambda batch, predictions: {**batch, **predictions})
        return merged.prefetch(2)

    if shard.replicas == 1 and _trains_on_the_host():
        # The same batches; TensorFlow's own way to devices makes none before one is asked for.
        return stretch, iter(batches(None))
    return stretch, iter(strategy.distribute_datasets_from_function(batches))


def _trains_on_the_host() -> bool:
    """Whether batches are used where they are made."""
    return all(device.device_type == "CPU" for device in tf.config.list_logical_devices())


def mine_batches(
    config: TrainConfig,
    dataset: DataSet,
    *,
    strategy: tf.distribute.Strategy,
    shard: Shard,
    epoch: int,
) -> Iterator[Any]:
    """The samples of MINE's epoch schedule from an epoch on: one batch an epoch, for which no
    teacher predicts; it never repeats."""
    batches = strategy.distribute_datasets_from_function(
        lambda _: stream.batches(
            config,
            dataset,
            start_step=epoch,
            shard=shard,
            batch_size=config.mine.samples,
            data_seed=config.data.data_seed + _MINE_SEED,
        )
    )
    return iter(batches)


def one_batch(
    config: TrainConfig, dataset: DataSet, *, step: int, view_sizes: Sequence[int] = ()
) -> dict[str, tf.Tensor]:
    """The global batch of the step that comes after `step` steps, on this process."""
    batches = stream.training_stream(
        config, dataset, start_step=step, shard=Shard(), view_sizes=view_sizes
    )
    return next(iter(batches))
