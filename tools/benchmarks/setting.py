"""What the flags of a training become for a measurement: random images, teachers at hand.

Speed depends on shapes alone. So no data set has to be on this machine, and a teacher that was not
trained here is made anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from std_keras.config import TrainConfig, defaults, options
from std_keras.errors import InputError

_ROOT = Path(__file__).resolve().parent.parent.parent
# Side, channels and classes of data sets that need not be there.
_KNOWN = {
    "digits": (8, 1, 10),
    "cifar10": (32, 3, 10),
    "cifar100": (32, 3, 100),
    "imagenet2012": (224, 3, 1000),
}


def image_size(config: TrainConfig) -> int:
    """The side of the images that a configuration trains on; 32 if only the data set knows."""
    name = config.data.dataset.partition("/")[0]
    return config.data.image_size or _KNOWN.get(name, (32,))[0]


def dataset(config: TrainConfig) -> Any:
    """A data set of one batch of random images, with the shape and the classes of the one named.

    Another data set than digits, CIFAR or ImageNet must be on this machine.
    """
    import numpy as np

    from std_keras.data import DataSet
    from std_keras.data.arrays import ArraySource
    from std_keras.training import build

    name = config.data.dataset.partition("/")[0].partition(":")[0]
    if name in _KNOWN:
        side, channels, classes = _KNOWN[name]
        shape = (config.data.image_size or side, config.data.image_size or side, channels)
        labels = tuple(f"class {index}" for index in range(classes))
    else:
        real = build.load_data(config.replace(cache_gb=0.0))
        shape, labels = real.image_shape, real.label_names
    for folder in _run_directories(config):
        labels = folder.read_labels()  # Loading the teacher compares them.
    size = max(config.optimization.batch_size, config.mine.samples if config.mine.weight else 0)
    rng = np.random.default_rng(0)
    source = ArraySource(
        rng.integers(0, 256, (size, *shape), np.uint8),
        rng.integers(0, len(labels), size, np.int32),
    )
    return DataSet(
        name=config.data.dataset,
        label_names=tuple(labels),
        image_shape=shape,
        train=source,
        validation=None,
        test=source,
        horizontal_flip=True,
        mean=(0.5,) * shape[2],
        std=(0.25,) * shape[2],
    )


def batch(data: Any, size: int) -> dict[str, Any]:
    """One batch as training has it: uint8 pixels, and label distributions as mixup makes them."""
    import tensorflow as tf

    images, labels = data.train.decode(tf.range(size, dtype=tf.int64))
    targets = tf.one_hot(labels, data.num_classes)
    return {"images": images, "targets": 0.7 * targets + 0.3 * tf.reverse(targets, [0])}


def pictures(config: TrainConfig, data: Any, folder: Path, *, view: int) -> Any:
    """The batches of a training on photographs of twice the side of the data set's images.

    They are held in memory, as training holds them if it can.

    Args:
        config: resolved; says how images are changed.
        data: whose images, which have three channels, and classes they stand for.
        folder: for the photographs.
        view: how many times the images' side a larger view has; 1 for none.
    """
    import dataclasses

    import numpy as np

    from std_keras.data import Shard
    from std_keras.data.files import FileSource
    from std_keras.training import stream
    from tools.benchmarks import photos

    side, count = data.image_shape[0], config.optimization.batch_size
    folder.mkdir(parents=True, exist_ok=True)
    paths = photos.write_jpegs(photos.squares(count, 2 * side), folder)
    labels = np.arange(count) % data.num_classes
    held, _ = FileSource(paths, labels, image_size=side).read_all()
    larger = (view * side,) if view > 1 else ()
    held.hold(larger)
    return stream.training_stream(
        config, dataclasses.replace(data, train=held), shard=Shard(), view_sizes=larger
    )


def with_teachers(config: TrainConfig, data: Any, folder: Path, *, asked: bool) -> TrainConfig:
    """The configuration with teachers that can be loaded.

    Args:
        config: whose teachers may not have been trained on this machine.
        data: the data set.
        folder: where new teachers are written.
        asked: whether teachers run. If not, their labels come with the batch, and the smallest
            network stands for each.

    Raises:
        InputError: a run directory that is not there has no flag file of its name.
    """
    import keras

    from std_keras.training import build

    if config.distillation.kind == "none":
        return config
    folder.mkdir(parents=True, exist_ok=True)
    texts = []
    for index, text in enumerate(config.distillation.teachers):
        source, *given = text.split(",")
        flag_file = _ROOT / "flags" / f"{Path(source).name}.flags"
        if asked and (":" in source or Path(source).exists()):
            texts.append(text)
            continue
        if asked:
            if not flag_file.is_file():
                raise InputError(
                    f"--teacher={source} is not there, and no {flag_file.name} in flags/ says what "
                    "it would be; train it, or name another"
                )
            made = build.build_model(_read(flag_file), data)
        else:
            inputs = keras.Input(data.image_shape)
            pooled = keras.layers.GlobalAveragePooling2D()(inputs)
            made = keras.Model(inputs, keras.layers.Dense(data.num_classes)(pooled))
        path = folder / f"teacher_{index}.keras"
        made.save(path)
        sites = [part for part in given if part.strip().startswith("site=")]
        texts.append(",".join([str(path), *sites, "input=byte"]))
    return config.replace(teacher=tuple(texts))


def random_predictions(config: TrainConfig, data: Any, count: int) -> dict[str, Any]:
    """Labels of `count` teachers for a batch, as a cache has them."""
    import tensorflow as tf

    from std_keras.training.cached_predictions import prediction_format

    logits = tf.random.stateless_normal(
        (config.optimization.batch_size, count, data.num_classes), (0, 0)
    )
    return prediction_format(config.distillation, data).encode(logits)


def _read(flag_file: Path) -> TrainConfig:
    from std_keras.programs import flags

    # The programs' own parser, so that files that include others are understood.
    return TrainConfig(
        **flags.parse(
            [f"--flagfile={flag_file}"],
            program=flag_file.name,
            about="",
            options=options(),
            defaults=defaults(),
        )
    )


def _run_directories(config: TrainConfig) -> list[Any]:
    from std_keras.runs.run_directory import RunDirectory
    from std_keras.weights.located import located

    sources = (text.split(",")[0] for text in config.distillation.teachers)
    found = [RunDirectory(located(source, flag="teacher")) for source in sources]
    return [run for run in found if run.labels_file.is_file()]
