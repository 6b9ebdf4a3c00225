"""The stream of augmented batches that a configuration trains on, and what shapes its pixels."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from std_keras.config import TrainConfig
from std_keras.data import Augmentation, DataSet, Shard, folder_content, training_batches
from std_keras.data.source import IndexedSource
from std_keras.files.texts import normalized
from std_keras.training.augmentation import create_augmentation

_FORMAT = 1  # A new number makes all teacher caches of older versions useless.
_PICTURES = 256  # Of the first step, by which a cache knows its pictures again.


def steps_per_epoch(config: TrainConfig, dataset: DataSet) -> int:
    """Whole batches of an epoch."""
    return dataset.train.size // config.optimization.batch_size


def period(config: TrainConfig, dataset: DataSet) -> int:
    """Steps after which the stream begins anew (`augmentation_views`); 0 for never."""
    return config.data.augmentation_views * steps_per_epoch(config, dataset)


def training_stream(
    config: TrainConfig,
    dataset: DataSet,
    *,
    start_step: int = 0,
    shard: Shard,
    view_sizes: Sequence[int] = (),
) -> tf.data.Dataset:
    """The batches of the steps start_step, start_step + 1, ... without end; see `data.pipeline`.

    With `augmentation_views` = K, epoch e has the batches of epoch e mod K. `view_sizes` are those
    of the teachers that predict for them (`teacher_views.larger`).
    """
    views = period(config, dataset)
    if not views:
        return batches(config, dataset, start_step=start_step, shard=shard, view_sizes=view_sizes)
    begin = start_step % views
    first = batches(config, dataset, start_step=begin, shard=shard, view_sizes=view_sizes)
    again = batches(config, dataset, start_step=0, shard=shard, view_sizes=view_sizes)
    # Each local replica has an element of its own.
    first = first.take((views - begin) * shard.local_replicas)
    return first.concatenate(again.take(views * shard.local_replicas).repeat())


def batches(
    config: TrainConfig,
    dataset: DataSet,
    *,
    start_step: int,
    shard: Shard,
    batch_size: int | None = None,
    data_seed: int | None = None,
    view_sizes: Sequence[int] = (),
) -> tf.data.Dataset:
    """Batches that never repeat, also of another size or seed than the configuration's."""
    assert config.augmentation.label_smoothing is not None
    assert config.augmentation.repeated_augmentation is not None
    return training_batches(
        dataset.train,
        batch_size=config.optimization.batch_size if batch_size is None else batch_size,
        num_classes=dataset.num_classes,
        data_seed=config.data.data_seed if data_seed is None else data_seed,
        augmentation=_augmentation(config, dataset),
        label_smoothing=config.augmentation.label_smoothing,
        repeats=config.augmentation.repeated_augmentation,
        start_step=start_step,
        shard=shard,
        view_sizes=view_sizes,
    )


def facts(config: TrainConfig, dataset: DataSet) -> dict[str, Any]:
    """Everything that shapes the pixels of the stream, by name, as JSON values.

    Not among it: what shapes only the targets (label smoothing), where the data lies, the number
    of epochs and of repeated views, the student and its seed.
    """
    source = dataset.train
    names = "\n".join(normalized(dataset.label_names)).encode()
    recipe = _differing(_augmentation(config, dataset))
    parts: dict[str, Any] = {}  # What is off changes nothing, as in `_differing`.
    if config.data.validation_fraction and dataset.stratified:
        parts["held out"] = "of each class"
    if config.data.test_fraction:
        parts["--test_fraction"] = config.data.test_fraction
        parts["--test_seed"] = config.data.test_seed
    if folder_content.kind(dataset.name) is not None:
        parts["pictures"] = folder_content.fingerprint(dataset.name)
    return {
        "format": _FORMAT,
        "--dataset": folder_content.kind(dataset.name) or dataset.name,
        "training images": source.size,
        "image shape": list(dataset.image_shape),
        "class names": hashlib.sha256(names).hexdigest(),
        "order": "indexed" if isinstance(source, IndexedSource) else type(source).__name__,
        "--max_train_examples": config.data.max_train_examples,
        "--validation_fraction": config.data.validation_fraction,
        **parts,
        "--data_seed": config.data.data_seed,
        "--batch_size": config.optimization.batch_size,
        "--repeated_augmentation": config.augmentation.repeated_augmentation,
        **{f"augmentation {name}": value for name, value in recipe.items()},
    }


def picture_levels(config: TrainConfig, dataset: DataSet) -> list[float]:
    """The mean pixel of each view of the first step, at most 256 of them."""
    batch = next(iter(batches(config, dataset, start_step=0, shard=Shard())))
    images = batch["images"].numpy()[:_PICTURES]
    return [float(np.mean(image, dtype=np.float64)) for image in images]


def _augmentation(config: TrainConfig, dataset: DataSet) -> Augmentation:
    batch_size = config.optimization.batch_size
    return create_augmentation(config.augmentation, dataset, batch_size=batch_size)


def _differing(options: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not at their defaults, so that a new field, which is off
    by default, changes nothing."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if value == default:
            continue
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            inner = _differing(value)
            found |= {f"{field.name}.{name}": v for name, v in inner.items()}
            found.setdefault(field.name, True)
        else:
            found[field.name] = list(value) if isinstance(value, tuple) else value
    return found
