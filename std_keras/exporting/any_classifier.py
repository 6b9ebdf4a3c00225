"""Any Keras classifier as a run directory, so that it is exported as what was trained here is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from std_keras import teachers
from std_keras.config import TrainConfig
from std_keras.errors import InputError
from std_keras.runs.run import Run
from std_keras.runs.run_directory import RunDirectory
from std_keras.teachers.load import load_network
from std_keras.teachers.pixel_scale import pixel_input
from std_keras.teachers.teacher import LEAST
from std_keras.weights.run import read_label_names, write_run


def run_of_classifier(
    description: str,
    *,
    folder: Path,
    labels: str | Path | None,
    eval_crop_ratio: float | None,
    images_of: Run | None = None,
) -> Run:
    """Writes a run directory with a model of pixels 0..255 to logits.

    Args:
        description: SOURCE[,input=...][,size=N], as of a teacher.
        folder: new or empty.
        labels: file of class names, one a line; None for the labels.txt beside the model.
        eval_crop_ratio: see `TrainConfig`.
        images_of: a run, whose images and their parts become those of this one; None for none.

    Raises:
        InputError: if there is no such model, or it is no classifier of square images.
    """
    try:
        spec = teachers.parse(description)
        size = teachers.input_size(spec)
        if size is None:
            raise InputError(f"teacher={description} takes images of any size; add ,size=N")
        teacher = load_network(spec, image_shape=(size, size, 1))
    except InputError as error:
        raise InputError(str(error).replace("teacher=", "model=")) from error
    flag = f"model={spec.name}"
    height, width, channels = teacher.image_shape
    if teacher.model is None or height != width:
        raise InputError(f"{flag} is not a Keras network of square images; export takes no other")
    teacher.model.trainable = True  # As a teacher it was fixed; its weights are counted here.
    network, probabilities = _logits(teacher.model, teacher.inputs(_probe(teacher.image_shape)))
    try:
        inputs, pixels = pixel_input(teacher, channels=channels)
    except ValueError as error:
        raise InputError(f"{flag}: {error}; save a model that does it itself") from error
    logits = network(pixels)
    if len(logits.shape) != 2:
        raise InputError(
            f"{flag} returns an array of shape {tuple(logits.shape)}; a classifier returns one "
            "row of class scores an image"
        )
    if probabilities:
        logits = keras.ops.log(keras.ops.maximum(logits, LEAST))
    num_classes = int(logits.shape[1])
    if labels is None and teacher.label_names is None:
        raise InputError(
            f"`labels` is missing: there is no labels.txt beside {spec.source}; name a file with "
            "one class a line, in the order of the outputs"
        )
    names = teacher.label_names or ()
    if labels is not None:
        names = read_label_names(labels, num_classes=num_classes)
    elif len(names) != num_classes:
        raise InputError(f"{flag} has {num_classes} classes, its labels.txt {len(names)} lines")
    name = teacher.model.name
    run = RunDirectory(folder)
    write_run(
        run,
        model=keras.Model(inputs, logits, name=name),
        config=TrainConfig(
            **({"dataset": ""} if images_of is None else _data_options(images_of))
        ).replace(model=name, image_size=height, eval_crop_ratio=eval_crop_ratio),
        label_names=names,
        origin={"kind": "model", "file": spec.source},
        examples=None if images_of is None else images_of.directory.read_examples(),
    )
    return Run(folder)


def _data_options(run: Run) -> dict[str, Any]:
    data = run.config.data
    return {flag: getattr(data, field) for flag, (field, _) in type(data).options().items()}


def _logits(model: keras.Model, inputs: Any) -> tuple[keras.Model, bool]:
    """The model without a softmax at its end, and whether it gives probabilities still."""
    outputs = np.asarray(model(inputs, training=False))
    if not ((outputs >= 0).all() and np.allclose(outputs.sum(axis=-1), 1.0, atol=1e-2)):
        return model, False
    last = model.layers[-1]
    try:
        if isinstance(last, keras.layers.Softmax) or _is_softmax(last, keras.layers.Activation):
            return keras.Model(model.inputs[0], last.input, name=model.name), False
        if _is_softmax(last, keras.layers.Dense):
            linear = keras.layers.Dense.from_config({**last.get_config(), "activation": None})
            logits = linear(last.input)
            linear.set_weights(last.get_weights())
            return keras.Model(model.inputs[0], logits, name=model.name), False
    except (AttributeError, ValueError):  # Its layers are not known, or are called several times.
        pass
    return model, True


def _is_softmax(layer: Any, kind: type) -> bool:
    return type(layer) is kind and getattr(layer, "activation", None) is keras.activations.softmax


def _probe(shape: tuple[int, int, int]) -> np.ndarray:
    """Three grey images (3, H, W, C)."""
    return np.stack([np.full(shape, value, np.float32) for value in (0.0, 128.0, 255.0)])
