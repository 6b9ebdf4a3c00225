"""Measures the data pipeline: images per second of one core, from files or memory to batches.

Images up to 32 px are in memory, as CIFAR is; larger ones are JPEG files of the image size. Every
implementation runs on one thread, in turns with the others, and processor time is counted, so that
other programs on the machine matter less.

--against=timm runs the same recipe with timm and PIL, as DeiT's code does: image by image to
normalised float32, then mixup and CutMix on the batch. The pipeline here gives uint8, since models
normalise their own input; "ratio_normalized" adds that work to it.
"""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from std_keras.config import augmentation_presets as presets
from std_keras.config.option import Option
from std_keras.errors import InputError

_TOPIC = "Input benchmark"
OPTIONS = {
    "augmentation": Option(
        topic=_TOPIC,
        help="The preset to measure.",
        kind=str,
        choices=("all", *presets.NAMES),
    ),
    "image_size": Option(topic=_TOPIC, help="Side of the images in pixels.", kind=int),
    "against": Option(
        topic=_TOPIC,
        help="What to measure beside it: timm (needs timm and torch, see requirements-dev.txt).",
        kind=str,
        choices=("none", "timm"),
    ),
    "batch_size": Option(topic=_TOPIC, help="Images in a batch.", kind=int),
    "seconds": Option(
        topic=_TOPIC, help="Processor seconds for each preset and implementation.", kind=float
    ),
    "images": Option(topic=_TOPIC, help="Different images.", kind=int),
}
DEFAULTS = {
    "augmentation": "all",
    "image_size": 32,
    "against": "none",
    "batch_size": 128,
    "seconds": 10.0,
    "images": 512,
}
# Of the results, those that results/benchmarks.csv keeps.
FIGURES = ("presets/*",)
_ROUNDS = 5
_CLASSES = 100


def run(
    *,
    augmentation: str,
    image_size: int,
    against: str,
    batch_size: int,
    seconds: float,
    images: int,
) -> dict[str, Any]:
    """The figures by preset; see the module's text and `OPTIONS`."""
    for flag, value in (("image_size", image_size), ("batch_size", batch_size)):
        if value < 1:
            raise InputError(f"--{flag}={value} is outside its limits; it must be at least 1")
    if images < batch_size:
        raise InputError(f"--images={images} must be at least --batch_size={batch_size}")
    if not seconds > 0:
        raise InputError(f"--seconds={seconds:g} must be above 0")
    from tools.benchmarks import photos

    pixels = photos.squares(images, image_size)
    names = presets.NAMES if augmentation == "all" else (augmentation,)
    with tempfile.TemporaryDirectory() as folder:
        paths = None
        if image_size > presets.SMALL_IMAGE:
            paths = photos.write_jpegs(pixels, Path(folder))
        results = {}
        for name in names:
            makers: dict[str, Callable[[], Iterator[Any]]] = {
                "std_keras": functools.partial(_batches, name, pixels, paths, batch_size),
                "std_keras_normalized": functools.partial(
                    _batches, name, pixels, paths, batch_size, normalize=True
                ),
            }
            if against == "timm":
                from tools.benchmarks import timm_input

                makers["timm"] = functools.partial(
                    timm_input.batches,
                    *(name, pixels, paths),
                    batch_size=batch_size,
                    num_classes=_CLASSES,
                )
            else:
                del makers["std_keras_normalized"]
            results[name] = _measure(makers, batch_size=batch_size, seconds=seconds)
    return {
        "benchmark": "input",
        "image_size": image_size,
        "batch_size": batch_size,
        "from": "JPEG files" if paths else "memory",
        "presets": results,
    }


def _batches(
    name: str, pixels: Any, paths: list[str] | None, batch_size: int, *, normalize: bool = False
) -> Iterator[Any]:
    """The project's pipeline, without end, on one thread."""
    import numpy as np
    import tensorflow as tf

    from std_keras.config import TrainConfig, resolve
    from std_keras.data import DataSet, training_batches
    from std_keras.data.arrays import ArraySource
    from std_keras.data.files import FileSource
    from std_keras.training.augmentation import create_augmentation

    labels = np.arange(len(pixels)) % _CLASSES
    size = pixels.shape[1]
    source = FileSource(paths, labels, image_size=size) if paths else ArraySource(pixels, labels)
    config = resolve(TrainConfig(augmentation=name), image_size=size, horizontal_flip=True)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    dataset = DataSet(
        name="photographs",
        label_names=tuple(map(str, range(_CLASSES))),
        image_shape=source.image_shape,
        train=source,
        validation=None,
        test=source,
        horizontal_flip=True,
        mean=mean,
        std=std,
    )
    assert config.augmentation.label_smoothing is not None
    assert config.augmentation.repeated_augmentation is not None
    batches = training_batches(
        source,
        batch_size=batch_size,
        num_classes=_CLASSES,
        data_seed=0,
        augmentation=create_augmentation(
            config.augmentation, dataset, batch_size=config.optimization.batch_size
        ),
        label_smoothing=config.augmentation.label_smoothing,
        repeats=config.augmentation.repeated_augmentation,
    )
    if normalize:
        offset, scale = 255 * tf.constant(mean), 1 / (255 * tf.constant(std))
        batches = batches.map(lambda b: ((tf.cast(b["images"], tf.float32) - offset) * scale, b))
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    options.autotune.enabled = False
    return iter(batches.with_options(options))


def _measure(
    makers: dict[str, Callable[[], Iterator[Any]]], *, batch_size: int, seconds: float
) -> dict[str, Any]:
    """Images per processor second of each, taking turns; the middle of several rounds."""
    iterators = {name: make() for name, make in makers.items()}
    for iterator in iterators.values():
        for _ in range(3):  # Traces and compiles, and fills what is made ahead.
            next(iterator)
    speeds: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(_ROUNDS):
        for name, iterator in iterators.items():
            began, count = _settled(), 0
            while count < 2 or time.process_time() - began < seconds / _ROUNDS:
                next(iterator)
                count += 1
            speeds[name].append(count * batch_size / (_settled() - began))
    figures: dict[str, Any] = {
        "images_per_second_per_core": {
            name: round(statistics.median(values), 1) for name, values in speeds.items()
        }
    }
    if "timm" in speeds:
        for key, name in (("ratio", "std_keras"), ("ratio_normalized", "std_keras_normalized")):
            ratios = [a / b for a, b in zip(speeds[name], speeds["timm"], strict=True)]
            figures[key] = round(statistics.median(ratios), 2)
            figures[f"{key}_range"] = [round(min(ratios), 2), round(max(ratios), 2)]
    return figures


def _settled() -> float:
    """The processor time, once nothing is made ahead any more: what was used up is made again."""
    before, quiet = time.process_time(), 0
    while quiet < 5:  # Once is not enough: on a busy machine a thread may just not have its turn.
        time.sleep(0.03)
        now = time.process_time()
        quiet = quiet + 1 if now - before < 0.003 else 0
        before = now
    return before
