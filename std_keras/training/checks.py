"""Checks before and during a run: devices, the run directory, damaged data."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from std_keras import progress, xla_cache
from std_keras.config import TrainConfig, differing_options
from std_keras.data import DataSet, folder_content
from std_keras.data.files import FileSource
from std_keras.errors import InputError, reason_of
from std_keras.files.paths import user_path
from std_keras.files.texts import normalized
from std_keras.losses import mine
from std_keras.runs.origin import digest_of
from std_keras.runs.run_directory import RunDirectory
from std_keras.teachers.identity import identity
from std_keras.teachers.spec import parse
from std_keras.weights.initialize import find_start


def check_devices(config: TrainConfig, strategy: tf.distribute.Strategy) -> None:
    """Raises InputError if the batch cannot be divided among the devices, or they cannot run it."""
    replicas = strategy.num_replicas_in_sync
    batch_size = config.optimization.batch_size
    accumulation_steps = config.optimization.accumulation_steps
    parts = replicas * accumulation_steps
    if config.optimization.batch_size % parts:
        raise InputError(
            f"batch_size={batch_size} is not divisible by {replicas} replica(s) x "
            f"accumulation_steps={accumulation_steps}; use a multiple of {parts}"
        )
    if (
        config.performance.jit_compile
        and replicas > 1
        and not tf.config.list_physical_devices("GPU")
    ):
        if not isinstance(strategy, tf.distribute.TPUStrategy):
            raise InputError(
                "jit_compile=True cannot run on several CPU devices (XLA does not find variables "
                "of another device); use jit_compile=False or strategy=one_device"
            )
    if config.mine.weight and config.mine.schedule == "step":
        mine.derangement(config.optimization.batch_size // parts)
    if config.mine.weight and config.mine.schedule == "epoch":
        if config.mine.samples % replicas or config.mine.samples // replicas < 2:
            raise InputError(
                f"mine_samples={config.mine.samples} must give each of {replicas} replica(s) the "
                "same number of examples, and at least 2"
            )


def check_sizes(config: TrainConfig, dataset: DataSet) -> None:
    """Raises InputError if the data set does not have what is asked of it.

    A training set that is smaller than what one step takes, or no held-out part to choose on.
    """
    if config.run.best_by != "top1" and dataset.validation is None:
        raise InputError(
            f"best_by={config.run.best_by} chooses on a held-out part, and there is none; hold one "
            "out with validation_fraction=0.1"
        )
    wanted = {"batch_size": config.optimization.batch_size}
    if config.mine.weight and config.mine.schedule == "epoch":
        wanted["mine_samples"] = config.mine.samples
    for name, size in wanted.items():
        if size > dataset.train.size:
            raise InputError(
                f"{name}={size} is larger than the training set of {dataset.train.size} examples"
            )


def slow_choice(config: TrainConfig, strategy: tf.distribute.Strategy) -> str | None:
    """A sentence on options that work together but slowly here; None if there is nothing to say."""
    accelerated = tf.config.list_physical_devices("GPU")
    if isinstance(strategy, tf.distribute.TPUStrategy) or accelerated:
        return None
    if config.performance.jit_compile and config.performance.mixed_precision:
        return (
            "jit_compile=True with mixed_precision=True: XLA has no fast products in bfloat16 on a "
            "CPU, so jit_compile=False is faster; both may be changed in a run that continues"
        )
    return None


def check_same_run(run: RunDirectory, config: TrainConfig, dataset: DataSet) -> None:
    """Raises InputError if a run directory was begun with other options, classes or examples.

    The place of data and teachers does not matter: a folder may have moved with its images.
    """
    begun = run.read_config()
    differing = differing_options(begun, _with_places_of(begun, config, run))
    if (
        differing
        and run.result_file.is_file()
        and begun.optimization.epochs != (config.optimization.epochs)
    ):
        raise InputError(
            f"model_dir={run.path} is a finished run ({'; '.join(differing)}), and its learning "
            f"rate has come to its end; to train more, start from it in another `model_dir` with "
            f"initialize_from={run.path}"
        )
    if differing:
        raise InputError(
            f"model_dir={run.path} belongs to a run with other options ({'; '.join(differing)}); "
            "give the same options to continue it, or another `model_dir`"
        )
    if normalized(run.read_labels()) != normalized(dataset.label_names):
        raise InputError(
            f"dataset={dataset.name}: its classes differ from {run.labels_file}, which was written "
            "when the run started; restore them, or train in another `model_dir`"
        )
    before, now = run.read_examples(), dataset.sizes
    for part in ("train", "validation"):  # The order of the images and the calendar go by them.
        if before is not None and before.get(part) != now[part]:
            raise InputError(
                f"dataset={dataset.name}: its {part} split has {now[part]} examples, but had "
                f"{before.get(part)} when {run.path} was started; restore the data, or train in "
                "another `model_dir`"
            )
    _check_folder(run, config, before)
    _warn_of_other_teachers(run, config)


def _warn_of_other_teachers(run: RunDirectory, config: TrainConfig) -> None:
    """A teacher in the place where it was may have been trained anew since."""
    for teacher, known in zip(config.distillation.teachers, run.read_teachers(), strict=False):
        with contextlib.suppress(InputError):  # It is gone; whoever needs it says so.
            if identity(parse(teacher)).get("teacher weights") != known.get("teacher weights"):
                progress.warn(
                    f"teacher={teacher}: its file changed since {run.path} was started, which "
                    "goes on with the new one"
                )


def _with_places_of(begun: TrainConfig, config: TrainConfig, run: RunDirectory) -> TrainConfig:
    """The configuration with what only lies elsewhere, or is named differently, named as before."""
    names: dict[str, Any] = {}
    old, new = begun.data.dataset, config.data.dataset
    if folder_content.kind(old) == folder_content.kind(new) is not None:
        names["dataset"] = old  # Its content is compared, not its name.
    start, now = begun.optimization.initialize_from, config.optimization.initialize_from
    if start and now and _is_same_start(start, now, run.read_origin()):
        names["initialize_from"] = start
    teachers = begun.distillation.teachers, config.distillation.teachers
    if len(teachers[0]) == len(teachers[1]) and all(
        a == b or _is_same_teacher(a, b, known)
        for a, b, known in itertools.zip_longest(*teachers, run.read_teachers())
    ):
        names["teacher"] = teachers[0]
    return config.replace(**names)


def _is_same_teacher(first: str, second: str, known: Mapping[str, str] | None) -> bool:
    """Whether a teacher has only moved; `known` is the identity of the first."""
    a, b = parse(first), parse(second)
    if dataclasses.replace(a, source=b.source, labels=b.labels) != b:
        return False
    if _is_same_place(a.source, b.source) and a.labels == b.labels:
        return True
    return known is not None and known == identity(b)


def _is_same_start(first: str, second: str, origin: Mapping[str, Any] | None) -> bool:
    """Whether the weights that a run began with have only moved; `origin` says which they were."""
    if _is_same_place(first, second):
        return True
    digest = (origin or {}).get("sha256")
    try:
        return digest is not None and digest == digest_of(find_start(second).file)
    except InputError:  # There is none.
        return False


def _is_same_place(first: str, second: str) -> bool:
    return os.path.realpath(user_path(first)) == os.path.realpath(user_path(second))


def _check_folder(
    run: RunDirectory, config: TrainConfig, recorded: Mapping[str, Any] | None
) -> None:
    """Compares the images of a `folder:`, a table or `.npz` with those that the run began with.

    In the place where they were, repaired images only get a warning.
    """
    name = config.data.dataset
    folder = folder_content.place(name)
    if folder is None or recorded is None or "fingerprint" not in recorded:
        return
    if folder_content.has_content_of(name, recorded):
        return
    if folder == recorded.get("folder"):
        progress.warn(f"dataset={name}: some images changed since {run.path} was started")
        return
    raise InputError(
        f"dataset={name}: its images are not those with which {run.path} was started, which were "
        f"in {recorded.get('folder')} (names, sizes or contents of files differ); name a copy of "
        "those, or train in another `model_dir`"
    )


# What reading a picture can end in: it is none, cut off, gone, a folder, not for everybody, or on a
# broken disk. All are decoded after one of these; a lost worker or full memory is none of them.
_OF_PICTURES = (
    tf.errors.InvalidArgumentError,
    tf.errors.DataLossError,
    tf.errors.NotFoundError,
    tf.errors.FailedPreconditionError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnknownError,
)


def refuse_damaged_data(dataset: DataSet, error: tf.errors.OpError) -> None:
    """Raises InputError if a streamed image or record turned out to be unreadable."""
    if not isinstance(error, _OF_PICTURES) or xla_cache.error_of(error) is not None:
        return
    parts = (dataset.train, dataset.validation, dataset.test)
    files = [part for part in parts if isinstance(part, FileSource)]
    bad = [path for part in files for path in part.find_corrupt(thorough=True)]
    if bad:
        gone = "" if os.path.exists(bad[0]) else ", which is not there any more"
        raise InputError(
            f"dataset={dataset.name}: {len(bad)} image(s) cannot be decoded, such as "
            f"{bad[0]}{gone}; remove them, or use corrupt_images=skip"
        ) from error
    if isinstance(error, tf.errors.DataLossError):
        raise InputError(
            f"dataset={dataset.name}: its prepared files are damaged: "
            f"{reason_of(error)}; prepare the data set again"
        ) from error
