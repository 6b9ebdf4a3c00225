"""A trained network with a new class head: its data, its features, and the run directory."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras import models, progress, teachers
from std_keras.config import TrainConfig, resolve, with_model_of
from std_keras.config.model import ModelOptions
from std_keras.data import DataSet, Source, folder_content, summary
from std_keras.data.randomness import Purpose, derive_seed
from std_keras.data.stratified import held_out_rows
from std_keras.errors import InputError
from std_keras.files.paths import user_path
from std_keras.runs.evaluation import Evaluator
from std_keras.runs.origin import keep_license, started_from
from std_keras.runs.run_directory import RunDirectory, replace_atomically
from std_keras.teachers.backbone import Backbone, backbone_of, load_backbone
from std_keras.teachers.features import BATCH_SIZE, Features, compute_features
from std_keras.training import build, linear_head
from std_keras.training.checks import check_sizes

_HELD_OUT = 0.2  # Of the training images, if the data has no validation part.
_DOWNLOADED = "hf-hub:"  # By `teachers.parse`; keras:NAME is only when it is loaded.
_USUAL_SIZE = 224  # Pixels: of a network that takes any size.


def network_and_data(
    description: str,
    *,
    size: int | None,
    config: TrainConfig,
    tuning: TrainConfig | None,
    stop: Callable[[], bool],
) -> tuple[Backbone, DataSet, TrainConfig]:
    """Loads both; the data first, for the network may have to be downloaded.

    Args:
        description: of the network.
        size: side of its input in pixels; None for its own.
        config: which images.
        tuning: of the fine-tuning that will follow, for which the images must be enough.
        stop: asked between pictures.
    """
    if description.startswith(_DOWNLOADED):
        dataset, _ = _data(config.replace(image_size=size or _USUAL_SIZE), stop=stop)
        if tuning is not None:
            check_sizes(tuning, dataset)
    spec = teachers.parse(description, flag="backbone")
    if size is not None:
        spec = dataclasses.replace(spec, size=size)
    side = teachers.input_size(spec) or _USUAL_SIZE
    dataset, filled = _data(config.replace(image_size=side), stop=stop)
    if tuning is not None:
        check_sizes(tuning, dataset)
    loaded = load_backbone(spec, size=side, channels=dataset.image_shape[-1])
    if loaded.image_shape[0] != side:  # Its files did not tell.
        dataset, filled = _data(config.replace(image_size=loaded.image_shape[0]), stop=stop)
    network = backbone_of(
        loaded, channels=dataset.image_shape[-1], model_options=_model_options(spec)
    )
    if network.model_options is not None:
        filled = with_model_of(filled, network.model_options)
    return network, dataset, filled.replace(model=network.model.name)


def _model_options(spec: teachers.TeacherSpec) -> ModelOptions | None:
    """What a run directory says about its model; None for another source."""
    run = RunDirectory(user_path(spec.source))
    return run.read_config().model if run.exists() else None


def _data(config: TrainConfig, *, stop: Callable[[], bool]) -> tuple[DataSet, TrainConfig]:
    """The data set, its facts in the log, and the configuration filled in."""
    dataset = build.load_data(config, progress=progress.stoppable(stop))
    for line in summary.lines(dataset):
        progress.say(line)
    for line in summary.warnings(dataset):
        progress.warn(line)
    counts = summary.class_counts(dataset).get("train")
    if dataset.num_classes < 2 or (counts is not None and not counts.all()):
        raise InputError(
            f"dataset={dataset.name}: a class head needs at least two classes, and an image of "
            "each in the train part"
        )
    filled = resolve(
        config, image_size=dataset.image_shape[0], horizontal_flip=dataset.horizontal_flip
    )
    return dataset, filled


def with_new_head(
    network: Backbone,
    dataset: DataSet,
    *,
    config: TrainConfig,
    stop: Callable[[], bool],
) -> tuple[keras.Model, dict[str, Any]]:
    """The network with a fitted class head, and what `result.json` says about it."""

    def features(source: Source, what: str) -> Features:
        return compute_features(
            network.model,
            source,
            crop_ratio=config.augmentation.eval_crop_ratio or 1.0,
            bfloat16=config.performance.mixed_precision,
            progress=progress.track,
            what=what,
            stop=stop,
        )

    began = time.monotonic()
    progress.say(
        f"backbone: {network.name}, images of {network.model.input_shape[1]} pixels, "
        f"{network.num_features} features an image ({network.origin})"
    )
    train = features(dataset.train, "features of train")
    if dataset.validation is not None:
        other = features(dataset.validation, "features of validation")
        held_out, part = (other.values, other.labels), "validation"
        rows = np.arange(len(train.labels))
    else:
        seed = derive_seed(config.data.data_seed, Purpose.HELD_OUT)
        out = held_out_rows(train.labels, train.identities, fraction=_HELD_OUT, seed=seed)
        held_out, part = (train.values[out], train.labels[out]), "a fifth of train"
        rows = np.setdiff1d(np.arange(len(train.labels)), out)
    computed = time.monotonic()
    chosen, found = linear_head.choose_penalty(
        train.values[rows],
        train.labels[rows],
        held_out=held_out,
        num_classes=dataset.num_classes,
        stop=stop,
    )
    progress.say(
        f"class head: penalty {chosen.penalty:g}, held out ({part}): top-1 {found.top1:.4f}, "
        f"balanced {found.balanced_accuracy:.4f}, cross-entropy {found.loss:.4f}"
    )
    if dataset.validation is None:
        chosen = linear_head.fit_head(
            train.values, train.labels, penalty=chosen.penalty, num_classes=dataset.num_classes
        )
    model = network.with_head(dataset.num_classes)
    model.get_layer("classification").set_weights([chosen.kernel, chosen.bias])
    return model, {
        "features": network.num_features,
        "features_are": network.origin,
        "penalty": chosen.penalty,
        "held_out": {"from": part, "examples": len(held_out[1]), **found.as_dict()},
        "feature_seconds": round(computed - began, 1),
        "fit_seconds": round(time.monotonic() - computed, 1),
    }


def freeze_batch_norms(model: keras.Model) -> None:
    """Keeps the statistics of batch normalisation, and its scales, as they are in training.

    Batches of a small set would spoil statistics that many images have made (as Keras' guide to
    fine-tuning says).
    """
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            freeze_batch_norms(layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def write_run(
    run: RunDirectory,
    model: keras.Model,
    config: TrainConfig,
    dataset: DataSet,
    *,
    taught: dict[str, Any],
    began: float,
    stop: Callable[[], bool],
) -> None:
    """Evaluates on the test split and writes the run directory."""
    accuracies = Evaluator(
        models.heads_model(model),
        source=dataset.test,
        batch_size=BATCH_SIZE,
        strategy=tf.distribute.get_strategy(),
    ).run(stop=stop)
    found = accuracies["classification"]
    backbone = taught["asked"]["backbone"]
    source = RunDirectory(teachers.parse(backbone, flag="backbone").source)
    file = source.model_file if source.exists() else source.path
    origin = started_from(backbone, source if source.exists() else None, file=file)
    seconds = time.monotonic() - began
    result = {
        "top1": found.top1,
        "top5": found.top5,
        "balanced_accuracy": found.balanced_accuracy,
        "head": "classification",
        "weights": "raw",
        "heads": {name: accuracy.as_dict() for name, accuracy in accuracies.items()},
        "parameters": models.trainable_parameters(model),
        "steps": 0,
        "epochs": 0,
        "images_per_second": None,
        "train_seconds": round(seconds, 1),
        "splits": {
            part: {"examples": count, "from": dataset.origins.get(part, "")}
            for part, count in dataset.sizes.items()
            if count
        },
        "per_class": found.per_class(dataset.label_names),
        "taught": taught,
        "origin": origin,
    }
    with contextlib.suppress(ValueError):  # A network of the user's may hold what is not counted.
        result["macs"] = models.multiply_accumulates(models.heads_model(model))
    replace_atomically(run.model_file, model.save)
    if source.path.is_dir():
        keep_license(source.path, run.path)
    run.write_result(result)
    run.write_start(
        config,
        label_names=dataset.label_names,
        architecture=model.to_json(),
        examples={
            **dataset.sizes,
            "stratified": dataset.stratified,
            **folder_content.facts(config.data.dataset),
        },
    )
    progress.say(
        f"finished: test top-1 {found.top1:.4f}, top-5 {found.top5:.4f}, balanced "
        f"{found.balanced_accuracy:.4f}, {found.weakest(dataset.label_names)}, "
        f"{seconds:.0f} s; {run.model_file}"
    )
