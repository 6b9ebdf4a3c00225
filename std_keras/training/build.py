"""From a configuration to a model: what train, evaluate and export must do alike."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from std_keras import data, losses, models, teachers
from std_keras import progress as progress_lines
from std_keras.config import TrainConfig
from std_keras.config.distillation import DistillationOptions
from std_keras.config.performance import PerformanceOptions
from std_keras.data import DataSet, folder_content, summary
from std_keras.data.limit import limited
from std_keras.data.listed import SKIP, some
from std_keras.data.source import IndexedSource, Progress
from std_keras.data.views import view_name
from std_keras.errors import InputError
from std_keras.files.texts import normalized
from std_keras.runs.run_directory import RunDirectory
from std_keras.teachers import Teacher, TeacherSpec
from std_keras.training.augmentation import picture_options
from std_keras.training.objectives import own_model


def load_data(
    config: TrainConfig,
    *,
    stratified: bool = True,
    whole_as_test: bool = False,
    test_only: bool = False,
    progress: Progress | None = None,
) -> DataSet:
    """Loads the data set that the configuration names, cut to the examples it asks for.

    Args:
        config: names the data.
        stratified: how the validation part is chosen; that of a run is `run.stratified()`.
        whole_as_test: see `data.load`.
        test_only: likewise; then train is not cut either.
        progress: see `data.load`.
    """
    dataset = data.load(
        config.data.dataset,
        data_dir=config.data.data_dir,
        image_size=config.data.image_size,
        validation_fraction=config.data.validation_fraction,
        data_seed=config.data.data_seed,
        stratified=stratified,
        test_fraction=config.data.test_fraction,
        test_seed=config.data.test_seed,
        whole_as_test=whole_as_test,
        test_only=test_only,
        cache_gb=config.data.cache_gb,
        corrupt_images=config.data.corrupt_images,
        decoded_dir=config.data.decoded_dir,
        progress=progress,
        **picture_options(config.augmentation, image_size=config.data.image_size),
    )
    left_out = summary.skipped(dataset)
    if left_out is not None:
        progress_lines.warn(left_out)
    return limited(
        dataset,
        train=0 if test_only else config.data.max_train_examples,
        test=config.data.max_test_examples,
    )


def data_of_run(
    model_dir: str | Path,
    *,
    dataset: str | None,
    data_dir: str | None,
    model: keras.Model,
    test_only: bool = False,
    progress: Progress | None = None,
) -> DataSet:
    """Loads the data that a run's model was trained on, or other data with the same classes.

    Args:
        model_dir: the run.
        dataset: another data set; None for the run's own.
        data_dir: where TFDS keeps its prepared sets; None for the run's own.
        model: the run's model, which fixes the image size.
        test_only: see `data.load`.
        progress: see `data.load`.

    Raises:
        InputError: if the data is not there, or its classes differ from the run's.
    """
    run = RunDirectory(model_dir)
    config = run.read_config()
    if not (dataset or config.data.dataset):
        raise InputError(
            f"`dataset` is missing: {run.path} was converted from other weights and has no data "
            "set of its own"
        )
    own = config.data.dataset
    if dataset is None:
        _refuse_missing(own, run.path)
    examples = run.read_examples()
    if dataset in (None, own):
        _warn_of_other_parts(config, run.path, examples)
    changes: dict[str, Any] = {"image_size": int(model.input_shape[1])}
    other = False
    if dataset is not None and folder_content.has_content_of(dataset, examples):
        changes["dataset"] = dataset
    elif dataset is not None and dataset != own:
        other = True
        # The parts of another data set are not the run's to cut.
        changes |= {"dataset": dataset, "validation_fraction": 0.0, "max_train_examples": 0}
        changes |= {"max_test_examples": 0, "test_fraction": 0.0}
    if data_dir is not None:
        changes["data_dir"] = data_dir
    try:
        loaded = load_data(
            config.replace(**changes),
            stratified=run.stratified(),
            whole_as_test=other,
            test_only=test_only,
            progress=progress,
        )
    except InputError as error:  # Whoever looks at a run's data cannot choose to skip.
        raise InputError(str(error).replace(SKIP, "")) from error
    if loaded.image_shape != tuple(model.input_shape[1:]):
        raise InputError(
            f"dataset={loaded.name} has images of shape {loaded.image_shape}, the model takes "
            f"{tuple(model.input_shape[1:])}"
        )
    labels = run.read_labels()
    if normalized(loaded.label_names) != normalized(labels):
        differing = sorted({*normalized(loaded.label_names)} ^ {*normalized(labels)})
        raise InputError(
            f"dataset={loaded.name} has {loaded.num_classes} classes that are not the "
            f"{len(labels)} of {run.labels_file}"
            + (f"; only one of them has {some(differing)}" if differing else " in this order")
        )
    return loaded


def at_place(config: TrainConfig, run: RunDirectory, dataset: str | None) -> TrainConfig:
    """The configuration of a run, with its own images where they are now.

    Args:
        config: as the run began.
        run: its directory.
        dataset: where they are; None for where they were.

    Raises:
        InputError: if they are not there, or others are.
    """
    own = config.data.dataset
    if dataset is None or dataset == own:
        _refuse_missing(own, run.path)
        return config
    if not folder_content.has_content_of(dataset, run.read_examples()):
        raise InputError(
            f"dataset={dataset}: its images are not those of dataset={own}, on which {run.path} "
            "was trained (names, sizes or contents of files differ); name a copy of those"
        )
    return config.replace(dataset=dataset)


def _refuse_missing(own: str, run: Path) -> None:
    place = folder_content.place(own)
    # What is no path is a name, and its reader says best how to get it.
    if place is not None and os.path.isabs(place) and not os.path.exists(place):
        form = "FILE.npz" if folder_content.kind(own) == "npz" else f"{own.partition(':')[0]}:PATH"
        raise InputError(
            f"dataset={own}, on which {run} was trained, is not here ({place} does "
            f"not exist); say where the images are with dataset={form}"
        )


def _warn_of_other_parts(
    config: TrainConfig, run: Path, recorded: Mapping[str, Any] | None
) -> None:
    """Says so if parts that were cut from own pictures will be cut from others now."""
    data = config.data
    fraction = "test_fraction" if data.test_fraction else "validation_fraction"
    if (
        (data.test_fraction or data.validation_fraction)
        and (recorded or {}).get("fingerprint") is not None
        and not folder_content.has_content_of(data.dataset, recorded)
    ):
        progress_lines.warn(
            f"dataset={data.dataset}: its images are not those with which {run} was trained "
            "(names, sizes or contents of files differ), so "
            f"{fraction}={getattr(data, fraction):g} holds out others now, and some of them may be "
            "what the model learned from"
        )


def build_model(
    config: TrainConfig,
    dataset: DataSet,
    *,
    normalization: tuple[Sequence[float], Sequence[float]] | None = None,
) -> keras.Model:
    """Creates the model with new weights, seeded by `config.optimization.seed`.

    With distillation it is a student with a token set per teacher and site; without, it is the
    named model alone, whatever teachers are listed. Objectives other than the standard one have
    no token sets; that of skeptical students has auxiliary classifiers instead. Its precision is
    that of Keras' global dtype policy (float32 unless a Python caller chose float64), except for
    `config.performance.mixed_precision`.

    Args:
        config: what to build.
        dataset: gives the shape of the images and the number of classes.
        normalization: mean and standard deviation per channel, of pixels in 0..1; the data set's
            if None.
    """
    keras.utils.set_random_seed(config.optimization.seed)
    mean, std = normalization or (dataset.mean, dataset.std)
    common: dict[str, Any] = {
        "input_shape": dataset.image_shape,
        "num_classes": dataset.num_classes,
        "mean": mean,
        "std": std,
        **config.model.architecture(),
    }
    policy = (
        "mixed_bfloat16" if config.performance.mixed_precision else keras.config.dtype_policy().name
    )
    with dtype_policy(policy):
        if not config.distillation.has_student_heads:
            _refuse_sites(config.distillation)
            create = own_model(config.distillation.objective)
            if create is not None:
                return create(config.model.name, options=config.distillation, **common)
            return models.create(config.model.name, **common)
        return models.create_student(
            config.model.name,
            teacher_sites=[
                teachers.parse(description).site for description in config.distillation.teachers
            ],
            tokens=config.distillation.tokens,
            token_mlps=config.distillation.token_mlps,
            propagate_tokens=config.distillation.propagate_tokens,
            **common,
        )


def class_weights(config: TrainConfig, dataset: DataSet) -> tuple[float, ...]:
    """The weight of each class in the loss; () for 1.

    Raises:
        InputError: if the classes of the training images are not known before they are read.
    """
    if config.optimization.class_weights == "none":
        return ()
    if not isinstance(dataset.train, IndexedSource):
        raise InputError(
            "class_weights=balanced has to know how many images each class has, but these are "
            "read from records while training; raise `cache_gb` so that they fit, or leave it out"
        )
    counts = np.bincount(dataset.train.labels(), minlength=dataset.num_classes)
    weights = losses.balanced_class_weights(counts)
    shown = (
        f"{weights[index]:.3g} ({dataset.label_names[index]})"
        for index in (int(np.argmin(weights)), int(np.argmax(weights)))
    )
    progress_lines.say(f"class_weights=balanced: from {' to '.join(shown)}")
    return tuple(weights.tolist())


def load_teacher(spec: TeacherSpec, dataset: DataSet, *, view_size: int) -> Teacher:
    """One teacher for a data set, looking at the view of a size (`teacher_views.view_size`).

    Raises:
        InputError: if it does not exist, cannot be loaded, or has other classes.
    """
    teacher = teachers.load(spec, image_shape=dataset.image_shape, label_names=dataset.label_names)
    view = view_name(view_size, image_size=dataset.image_shape[0])
    return dataclasses.replace(teacher, view=view)


def load_teachers(
    options: DistillationOptions,
    dataset: DataSet,
    *,
    performance: PerformanceOptions,
    view_sizes: Sequence[int],
) -> list[Teacher]:
    """The teachers that the options name and follow, in the form that predicts fastest, each
    looking at the view of its size (`teacher_views.view_sizes`).

    Raises:
        InputError: for a description with an unknown option, or as `load_teacher`.
    """
    if not options.uses_teachers:
        if options.teachers:
            progress_lines.say(
                f"distillation=none: the {len(options.teachers)} teacher(s) named are ignored"
            )
        return []
    loaded = []
    for description, size in zip(options.teachers, view_sizes, strict=True):
        spec = teachers.parse(description)
        teacher = load_teacher(spec, dataset, view_size=size)
        if performance.jit_compile and not (teacher.compilable or teacher.on_host):
            progress_lines.say(f"teacher {spec.name} is a SavedModel; it runs outside the XLA step")
        loaded.append(teacher.fast(bfloat16=performance.mixed_precision))
    return loaded


def _refuse_sites(options: DistillationOptions) -> None:
    for description in options.teachers if options.uses_teachers else ():
        site = teachers.parse(description).site
        if site != "last":
            raise InputError(
                f"teacher={description}: objective={options.objective} has no "
                f"token sets, so site={site} does not apply; leave it out"
            )


def default_head(model: keras.Model) -> str:
    """The head that the model itself returns: a student's average, else its only one."""
    return "average" if len(models.head_names(model)) > 1 else "classification"


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Sets Keras' global dtype policy for the length of the block."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
