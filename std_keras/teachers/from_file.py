"""Teachers in ONNX and TFLite files, which run outside TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from std_keras import progress
from std_keras.errors import InputError
from std_keras.runtimes.image_file import LAYOUTS, ImageInput
from std_keras.runtimes.predictor import HostPredictor, open_file
from std_keras.runtimes.trial import tried
from std_keras.teachers.image_shape import image_shape_of
from std_keras.teachers.spec import TeacherSpec, UnknownRangeError
from std_keras.teachers.teacher import INPUT_RANGES, LEAST, Teacher


def from_file(
    spec: TeacherSpec, path: Path, *, images: tuple[int, int, int], labels: tuple[str, ...] | None
) -> Teacher:
    """A teacher whose network runs on the host.

    The file is tried in another process first (`runtimes/trial.py`).

    Args:
        spec: what the user wrote.
        path: the file.
        images: (H, W, C) of the student's.
        labels: class names from beside the file, if there are any.

    Raises:
        InputError: if the file cannot be used, or does not say something that `spec` leaves out.
    """
    name = f"{spec.flag}={spec.name}"
    side = (spec.size or images[0], spec.size or images[1], images[2])
    trial = tried(path, name=name, size=side, layout=spec.layout, output=spec.output)
    layout = _layout(spec, trial.input)
    file = open_file(path, name=name, output=spec.output)
    predictor = HostPredictor(file, layout=layout, name=name)
    classes = trial.output_shape[1] if len(trial.output_shape) == 2 else None
    return Teacher(
        name=spec.name,
        site=spec.site,
        network=_as_network(predictor, classes),
        scale=INPUT_RANGES[_range(spec, trial.input)],
        image_shape=image_shape_of(spec, trial.input.image_shape(layout), images),
        probabilities=file.ending.softmax,
        least=max(LEAST, file.ending.step / 2) if file.ending.softmax else LEAST,
        compilable=False,
        label_names=trial.labels or labels,
        on_host=True,
    )


def _as_network(predictor: HostPredictor, classes: int | None) -> Callable[[tf.Tensor], tf.Tensor]:
    def predict(images: np.ndarray) -> np.ndarray:
        try:
            return predictor(images)
        except InputError as error:
            # An exception would come out of TensorFlow as another one. Whoever uses predictions
            # checks that they are finite.
            progress.warn(str(error))
            return np.full((len(images), classes or 1), np.nan, np.float32)

    def network(images: tf.Tensor) -> tf.Tensor:
        outputs = tf.numpy_function(predict, [images], tf.float32, stateful=False)
        return outputs if classes is None else tf.ensure_shape(outputs, (images.shape[0], classes))

    return network


def _layout(spec: TeacherSpec, found: ImageInput) -> str:
    if found.layout is None and spec.layout is None:
        raise InputError(
            f"{spec.flag}={spec.name} takes images of shape {found.shape}, which does not tell "
            f"where their channels are; add ,layout={'|'.join(LAYOUTS)}"
        )
    if None not in (found.layout, spec.layout) and found.layout != spec.layout:
        raise InputError(
            f"{spec.flag}={spec.name},layout={spec.layout}: it takes images of shape "
            f"{found.shape}, which are {found.layout}; leave layout out"
        )
    return found.layout or spec.layout or LAYOUTS[0]


def _range(spec: TeacherSpec, found: ImageInput) -> str:
    if found.range is None and spec.input is None:
        raise UnknownRangeError(
            f"{spec.flag}={spec.name}: the file does not say which pixel range it expects; add "
            f",input={'|'.join(INPUT_RANGES)} (std-keras check-teacher tries them)"
        )
    if None not in (found.range, spec.input) and found.range != spec.input:
        raise InputError(
            f"{spec.flag}={spec.name},input={spec.input}: the file says input={found.range}; leave "
            "input out"
        )
    return found.range or spec.input or "byte"
