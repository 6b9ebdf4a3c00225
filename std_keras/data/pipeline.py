"""From a source to the batches that training and evaluation consume, on any number of replicas.

A *global batch* belongs to a step. Replica r of R gets its rows [r*b, (r+1)*b), b = batch / R, so
the global batch does not depend on how many replicas there are, nor on which worker holds them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from std_keras.data.augmentation import Augmentation
from std_keras.data.augmentation.mixing import mix_targets
from std_keras.data.source import Source, check_batch_size, numbers_from
from std_keras.data.views import view_name
from std_keras.errors import InputError

_AHEAD = 4  # Batches made ahead of need, besides those that are being made.


@dataclasses.dataclass(frozen=True)
class Shard:
    """Which replicas of all the replicas a pipeline feeds.

    Attributes:
        first_replica: number of the first replica of this worker.
        local_replicas: how many replicas this worker has.
        replicas: how many all workers have together.
    """

    first_replica: int = 0
    local_replicas: int = 1
    replicas: int = 1

    def __post_init__(self) -> None:
        last = self.first_replica + self.local_replicas
        if self.first_replica < 0 or self.local_replicas < 1 or last > self.replicas:
            raise ValueError(f"not a part of {self.replicas} replicas: {self}")

    def batch_size(self, global_batch_size: int) -> int:
        """Examples per replica; raises InputError if they cannot be shared out evenly."""
        if global_batch_size < 1 or global_batch_size % self.replicas:
            nearest = max(1, round(global_batch_size / self.replicas)) * self.replicas
            raise InputError(
                f"batch_size={global_batch_size}: must be a positive multiple of the "
                f"{self.replicas} replicas; use {nearest}"
            )
        return global_batch_size // self.replicas


def smoothed_targets(labels: tf.Tensor, *, num_classes: int, smoothing: float) -> tf.Tensor:
    """Labels (b,) int to targets (b, num_classes) float32 that sum to one.

    Every class gets smoothing / num_classes, the true one 1 - smoothing besides (Szegedy et al.
    2016, arXiv 1512.00567, Section 7; the same as in timm).
    """
    off = smoothing / num_classes
    return tf.one_hot(labels, num_classes, on_value=1.0 - smoothing + off, off_value=off)


def training_batches(
    source: Source,
    *,
    batch_size: int,
    num_classes: int,
    data_seed: int,
    augmentation: Augmentation,
    label_smoothing: float = 0.0,
    repeats: int = 1,
    start_step: int = 0,
    shard: Shard = Shard(),
    view_sizes: Sequence[int] = (),
) -> tf.data.Dataset:
    """Batches of the steps start_step, start_step + 1, ... without end.

    Each is a pure function of (data_seed, step): a new process, a resume, other thread counts and
    other shards make no difference.

    Args:
        batch_size: global, over all replicas.
        label_smoothing: in [0, 1).
        repeats: how often each image comes, with different augmentation; see `Source.shuffled`.
        view_sizes: further sizes, larger than the images, at which the source shows the same part
            of each picture, with the same augmentation in proportion.

    Returns:
        A dataset of {"images": (b, H, W, C) uint8, "targets": (b, num_classes) float32} with
        b = batch_size / shard.replicas, targets summing to one; per step one
        element for each local replica, in order. A view of 160 pixels is "images_160".

    Raises:
        InputError: if the batch cannot be shared out evenly, or is larger than the source.
    """
    check_batch_size(batch_size, size=source.size)
    local_batch = shard.batch_size(batch_size)
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    first = shard.first_replica * local_batch
    own = np.arange(first, first + shard.local_replicas * local_batch)
    partners = augmentation.partners(batch_size)
    # Partners are decoded and augmented too, even if they belong to another shard.
    rows = own if partners is None else np.union1d(own, partners[own])
    mine, others = own, own
    if partners is not None:
        mine, others = (np.searchsorted(rows, indices) for indices in (own, partners[own]))
    sizes = (source.image_shape[0], *view_sizes)

    # Its branches are plain Python; AutoGraph would read them for longer than all else of a start.
    @tf.autograph.experimental.do_not_convert
    def make(step: tf.Tensor, raw: tf.Tensor) -> dict[str, tf.Tensor]:
        drawn = augmentation.draw(
            batch_size=batch_size, seed=data_seed, step=step, image_shape=source.image_shape
        )
        raw = tf.ensure_shape(raw, (batch_size,))
        epoch = step // (source.size // batch_size)
        drawn |= augmentation.draw_by_image(raw, seed=data_seed, epoch=epoch)
        drawn = {name: _rows(value, rows) for name, value in drawn.items()}
        raw = _rows(raw, rows)
        views, labels = augmentation.decode_views(source, raw, drawn, sizes)
        targets = smoothed_targets(labels, num_classes=num_classes, smoothing=label_smoothing)
        batch: dict[str, tf.Tensor] = {}
        for size, images in zip(sizes, views, strict=True):
            recipe, parameters = augmentation.at_size(drawn, image_size=sizes[0], size=size)
            images = recipe.apply(images, parameters)
            if partners is not None:
                parameters = {n: _rows(value, mine) for n, value in parameters.items()}
                images = recipe.mix_images(
                    _rows(images, mine), tf.gather(images, others), parameters
                )
            batch[view_name(size, image_size=sizes[0])] = images
        if partners is not None:
            targets = mix_targets(
                _rows(targets, mine),
                tf.gather(targets, others),
                {name: _rows(value, mine) for name, value in drawn.items()},
            )
        return _by_replica({**batch, "targets": targets}, shard.local_replicas, local_batch)

    raw = source.shuffled(
        seed=data_seed, batch_size=batch_size, start_step=start_step, repeats=repeats
    )
    batches = tf.data.Dataset.zip(numbers_from(start_step), raw)
    return _finish(batches.map(make, num_parallel_calls=tf.data.AUTOTUNE), shard)


def evaluation_batches(
    source: Source,
    *,
    batch_size: int,
    shard: Shard = Shard(),
    view_sizes: Sequence[int] = (),
) -> tf.data.Dataset:
    """Every example once over all shards, in a fixed order, in batches of one static shape.

    Returns:
        A finite dataset of {"images": (b, H, W, C) uint8, "labels": (b,) int32, "weights": (b,)
        float32} with b = batch_size / shard.replicas. Weights are 1 for examples and 0 for the
        padding of the last batch. All replicas get the same number of elements. `view_sizes` adds
        the same pictures at further sizes, as in `training_batches`.

    Raises:
        InputError: if the (global) batch cannot be shared out evenly.
    """
    local_batch = shard.batch_size(batch_size)
    first = shard.first_replica * local_batch
    rows = tf.range(first, first + shard.local_replicas * local_batch, dtype=tf.int64)
    sizes = (source.image_shape[0], *view_sizes)

    @tf.autograph.experimental.do_not_convert
    def make(raw: tf.Tensor) -> dict[str, tf.Tensor]:
        # Padding repeats the last example, which is readable; its weight is 0.
        last = tf.size(raw, out_type=tf.int64) - 1
        views, labels = source.decode_views(tf.gather(raw, tf.minimum(rows, last)), sizes)
        weights = tf.cast(rows <= last, tf.float32)
        names = [view_name(size, image_size=sizes[0]) for size in sizes]
        batch = {**dict(zip(names, views, strict=True)), "labels": labels, "weights": weights}
        return _by_replica(batch, shard.local_replicas, local_batch)

    raw = source.sequential(batch_size=batch_size)
    batches = raw.map(make, num_parallel_calls=tf.data.AUTOTUNE)
    count = -(-source.size // batch_size)
    return _finish(batches.apply(tf.data.experimental.assert_cardinality(count)), shard)


def _rows(values: tf.Tensor, rows: np.ndarray) -> tf.Tensor:
    """Some rows of values (n, ...), rows ascending; copies nothing if all are wanted."""
    if len(rows) == values.shape[0]:
        return values
    if rows[-1] - rows[0] + 1 == len(rows):
        return values[rows[0] : rows[-1] + 1]
    return tf.gather(values, rows)


def _by_replica(batch: Mapping[str, tf.Tensor], replicas: int, size: int) -> dict[str, tf.Tensor]:
    """Values (replicas * size, ...) to (replicas, size, ...), or (size, ...) if one replica."""

    def one(values: tf.Tensor) -> tf.Tensor:
        if replicas == 1:
            return tf.ensure_shape(values, (size, *values.shape[1:]))
        return tf.reshape(values, (replicas, size, *values.shape[1:]))

    return {name: one(values) for name, values in batch.items()}


def _finish(batches: tf.data.Dataset, shard: Shard) -> tf.data.Dataset:
    """One element per local replica, in the same order every time, made ahead of need."""
    if shard.local_replicas > 1:
        batches = batches.unbatch()
    options = tf.data.Options()
    options.deterministic = True
    # The shards are cut here; TensorFlow must not cut them again.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # TensorFlow's tuning of threads does not always hear that its iterator is gone, which waits
    # for it then, up to a minute (seen on one core). Now a map has a thread per core, up to 16.
    options.autotune.enabled = False
    # It begins when its iterator is made, not when the first batch is asked for: the step is traced
    # in between.
    options.experimental_warm_start = True
    # A fixed number: left to itself, TensorFlow raises it whenever a step had to wait.
    return batches.prefetch(_AHEAD * shard.local_replicas).with_options(options)
