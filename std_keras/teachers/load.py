"""Loads a teacher from wherever it is, and checks that it fits the data."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras import progress
from std_keras.errors import InputError, reason_of
from std_keras.files.paths import plain_path, user_path
from std_keras.files.texts import normalized, read_text
from std_keras.runs.keras_file import load_keras_file
from std_keras.runs.run_directory import RunDirectory
from std_keras.teachers.identity import find, named_classes, unfinished
from std_keras.teachers.image_shape import image_shape_of
from std_keras.teachers.input_size import APPLICATIONS_SIZE
from std_keras.teachers.memory import resident_mib
from std_keras.teachers.spec import OWN, TeacherSpec, UnknownRangeError
from std_keras.teachers.teacher import INPUT_RANGES, Teacher, check_labels
from std_keras.teachers.zoos import HF, load_preset
from std_keras.weights.class_names import has_numbers_for_names

_RANGES = "|".join(INPUT_RANGES)


def load(
    spec: TeacherSpec, *, image_shape: tuple[int, int, int], label_names: tuple[str, ...]
) -> Teacher:
    """Loads one teacher.

    Args:
        spec: what the user wrote.
        image_shape: (H, W, C) of the student's images.
        label_names: the data set's class names.

    Raises:
        InputError: if it does not exist, cannot be loaded, or has other classes.
    """
    before = resident_mib()
    teacher = load_network(spec, image_shape=image_shape)
    teacher = _checked(teacher, spec, image_shape, label_names)
    return dataclasses.replace(teacher, loaded_mib=max(0.0, resident_mib() - before))


def load_network(
    spec: TeacherSpec, *, image_shape: tuple[int, int, int], headless: bool = False
) -> Teacher:
    """Loads one teacher as it is, whatever its classes, and without trying it.

    Args:
        spec: what the user wrote.
        image_shape: (H, W, C) of the images; the network's own is used where it is fixed.
        headless: leave out the class head, where a source comes without one. `probabilities` and
            the names of the classes are of no use then.

    Raises:
        InputError: if it does not exist or cannot be loaded.
    """
    path, kind = user_path(spec.source), find(spec)
    if spec.layout is not None and kind not in ("onnx", "tflite"):
        raise InputError(
            f"{spec.flag}={spec.name},layout={spec.layout}: only ONNX and TFLite files have a "
            "layout to be told; leave layout out"
        )
    if kind == "applications":
        _refuse_input(spec, "keras.applications says which pixel range it expects")
        return _from_applications(spec, image_shape, headless=headless)
    if kind == "run":
        _refuse_input(spec, "a run directory's model normalises its images itself")
        return _from_run(spec, RunDirectory(path), image_shape)
    if kind == "keras_file":
        return _from_keras_file(spec, path, image_shape)
    if kind == "zoo":
        return _from_zoo(spec, image_shape)
    if kind in ("onnx", "tflite"):
        from std_keras.teachers.from_file import from_file  # Runtimes, for such a file alone.

        return from_file(spec, path, images=image_shape, labels=_labels(path.parent))
    return _from_saved_model(spec, path, image_shape)


def _checked(
    teacher: Teacher,
    spec: TeacherSpec,
    image_shape: tuple[int, int, int],
    label_names: tuple[str, ...],
) -> Teacher:
    """Tries the teacher on three grey images: its class count, and logits or probabilities."""
    probe = np.stack([np.full(image_shape, v, np.float32) for v in (0.0, 128.0, 255.0)])
    try:
        outputs = teacher.logits(tf.constant(probe)).numpy()
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise InputError(
            f"{spec.flag}={spec.name} cannot classify images of shape {teacher.image_shape}: "
            f"{reason_of(error)}; size=N sets the side of its input"
        ) from error
    if outputs.ndim != 2:
        raise InputError(
            f"{spec.flag}={spec.name} returns an array of shape {outputs.shape}; a teacher must "
            "return one row of class scores per image"
        )
    if np.isnan(outputs).any():
        raise InputError(
            f"{spec.flag}={spec.name} returns NaN for plain grey images of shape "
            f"{teacher.image_shape}; size=N sets the side of its input"
        )
    own = teacher.label_names
    if own is None:
        own = _numbers(spec, outputs.shape[1], label_names)
    if spec.labels is not None:
        order = _order(spec, outputs.shape[1], own, label_names)
        teacher = dataclasses.replace(teacher, order=order)
    else:
        check_labels(
            name=spec.name,
            num_classes=outputs.shape[1],
            label_names=teacher.label_names,
            wanted=label_names,
        )
    # Of rounded probabilities the sum is not 1; the file may tell what they are.
    distribution = teacher.probabilities or bool(
        np.all(outputs >= 0)
        and np.all(outputs <= 1)
        and np.allclose(outputs.sum(axis=1), 1.0, atol=1e-2)
    )
    if spec.output == "logits" and distribution:
        raise InputError(
            f"{spec.flag}={spec.name},output=logits returns probabilities (between 0 and 1, with "
            "sum 1); use output=probabilities"
        )
    if spec.output == "probabilities" and not distribution:
        raise InputError(
            f"{spec.flag}={spec.name},output=probabilities returns values that are not "
            "probabilities; use output=logits"
        )
    return dataclasses.replace(teacher, probabilities=distribution)


def _numbers(spec: TeacherSpec, classes: int, wanted: tuple[str, ...]) -> tuple[str, ...] | None:
    """The outputs' numbers as their names, if those of the data set's classes are numbers too.

    Raises:
        InputError: if the data set has them in another order, and the user did not say which holds.
    """
    numbers = tuple(str(index) for index in range(classes))
    if {*wanted} != {*numbers}:
        return None
    if wanted != numbers and spec.labels is None:
        place = next(i for i, name in enumerate(wanted) if name != numbers[i])
        raise InputError(
            f"{spec.flag}={spec.name} has no class names, and the data set's class {place} is "
            f"called {wanted[place]!r}: add ,labels={OWN} if output {wanted[place]} of the teacher "
            "stands for it, or ,labels=FILE with the names of its outputs, one a line"
        )
    return numbers


def _order(
    spec: TeacherSpec, classes: int, own: tuple[str, ...] | None, wanted: tuple[str, ...]
) -> tuple[int, ...]:
    """For each class of the data set, its place among the teacher's, by the names of `labels`."""
    names = normalized(own or ()) if spec.labels == OWN else named_classes(spec)
    if not names and spec.labels != OWN:
        raise InputError(
            f"{spec.flag}={spec.name},labels={spec.labels}: this file has no class names in it; "
            "write them there, one a line in the order of the teacher's outputs"
        )
    if not names:
        raise InputError(
            f"{spec.flag}={spec.name},labels={OWN}: it has no class names of its own; write them "
            "in a file, one a line in the order of its outputs, and name that"
        )
    if len(names) != classes:
        raise InputError(
            f"{spec.flag}={spec.name},labels={spec.labels} has {len(names)} names, the teacher "
            f"{classes} classes"
        )
    missing = [name for name in normalized(wanted) if name not in names]
    if missing:
        raise InputError(
            f"{spec.flag}={spec.name},labels={spec.labels} does not name the data set's class "
            f"{missing[0]!r}"
        )
    order = tuple(names.index(name) for name in normalized(wanted))
    progress.say(
        f"teacher {spec.name}: the data set's {len(wanted)} classes are found among its "
        f"{classes} by their names in {spec.labels}"
    )
    return order


def _from_run(spec: TeacherSpec, run: RunDirectory, image_shape: tuple[int, int, int]) -> Teacher:
    if not run.model_file.is_file():
        raise InputError(unfinished(spec))
    model = load_keras_file(run.model_file)
    labels = None if has_numbers_for_names(run) else run.read_labels()
    return _keras_teacher(
        dataclasses.replace(spec, input="byte"), model, image_shape, labels=labels
    )


def _from_keras_file(spec: TeacherSpec, path: Path, image_shape: tuple[int, int, int]) -> Teacher:
    _require_input(spec, "a .keras file does not say which pixel range it expects")
    return _keras_teacher(spec, load_keras_file(path), image_shape, labels=_labels(path.parent))


def _keras_teacher(
    spec: TeacherSpec,
    model: keras.Model,
    image_shape: tuple[int, int, int],
    *,
    labels: tuple[str, ...] | None,
    scale: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> Teacher:
    model.trainable = False
    shape = getattr(model, "input_shape", None)  # A model that was never built has none.
    if not isinstance(shape, tuple) or len(shape) != 4:
        raise InputError(
            f"{spec.flag}={spec.name} takes an input of shape {shape}; a teacher must take one "
            "batch of images (B, H, W, C)"
        )
    if shape[0] is not None:
        raise InputError(_fixed_batch(spec, shape[0]))
    return Teacher(
        name=spec.name,
        site=spec.site,
        network=lambda images: model(images, training=False),
        scale=scale or INPUT_RANGES[spec.input or "byte"],
        image_shape=image_shape_of(spec, shape[1:], image_shape),
        probabilities=False,
        compilable=True,
        label_names=labels,
        model=model,
    )


def _from_saved_model(spec: TeacherSpec, path: Path, image_shape: tuple[int, int, int]) -> Teacher:
    try:
        loaded = tf.saved_model.load(plain_path(path))
        signature = loaded.signatures["serving_default"]
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        raise InputError(
            f"{spec.flag}={spec.name} cannot be loaded as a SavedModel with the signature "
            f"serving_default: {reason_of(error)}"
        ) from error
    inputs = signature.structured_input_signature[1]
    outputs: Mapping[str, Any] = signature.structured_outputs
    if len(inputs) != 1:
        raise InputError(
            f"{spec.flag}={spec.name} takes {len(inputs)} inputs ({', '.join(inputs)}); a teacher "
            "must take one batch of images"
        )
    ((input_name, input_spec),) = inputs.items()
    output_name = spec.output if spec.output in outputs else None
    if output_name is None:
        output_name = "logits" if "logits" in outputs else next(iter(outputs))
        if len(outputs) > 1 and output_name != "logits":
            raise InputError(
                f"{spec.flag}={spec.name} returns {', '.join(sorted(outputs))}; it must return "
                "one of them, or name one logits"
            )
    if input_spec.shape.rank and input_spec.shape[0] is not None:
        raise InputError(_fixed_batch(spec, input_spec.shape[0]))
    takes_bytes = input_spec.dtype == tf.uint8
    if not takes_bytes:
        _require_input(spec, "a SavedModel does not say which pixel range it expects")

    def network(images: tf.Tensor) -> tf.Tensor:
        if takes_bytes:
            images = tf.cast(tf.round(images), tf.uint8)
        # `loaded` is named here because its variables die with it.
        assert loaded is not None
        return signature(**{input_name: tf.cast(images, input_spec.dtype)})[output_name]

    shape = tuple(input_spec.shape[1:]) if input_spec.shape.rank == 4 else (None, None, None)
    return Teacher(
        name=spec.name,
        site=spec.site,
        network=network,
        scale=INPUT_RANGES["byte" if takes_bytes else str(spec.input)],
        image_shape=image_shape_of(spec, shape, image_shape),
        probabilities=False,
        compilable=False,  # It may hold operations that XLA does not know.
        label_names=_labels(path) or _labels(path.parent),
    )


def _from_applications(
    spec: TeacherSpec, image_shape: tuple[int, int, int], *, headless: bool
) -> Teacher:
    name = spec.source.removeprefix("keras:")
    constructor = getattr(keras.applications, name, None)
    if not callable(constructor):
        known = [n for n in dir(keras.applications) if n[0].isupper()]
        raise InputError(
            f"{spec.flag}={spec.name}: keras.applications has no {name}; it has {', '.join(known)}"
        )
    preprocess = sys.modules[constructor.__module__].preprocess_input
    size = spec.size or APPLICATIONS_SIZE
    try:
        top: dict[str, Any] = {"classifier_activation": None}
        if headless:
            top = {"include_top": False, "pooling": "avg"}
        model = constructor(weights="imagenet", input_shape=(size, size, 3), **top)
    except ValueError as error:
        raise InputError(f"{spec.flag}={spec.name}: {reason_of(error)}") from error
    except Exception as error:  # urllib raises plain Exception when a download fails.
        raise InputError(
            f"{spec.flag}={spec.name}: its ImageNet weights are neither in ~/.keras nor could they "
            f"be downloaded ({reason_of(error)}); run it once with network access"
        ) from error
    return _keras_teacher(spec, model, image_shape, labels=None, scale=preprocess)


def _from_zoo(spec: TeacherSpec, image_shape: tuple[int, int, int]) -> Teacher:
    if not spec.source.startswith(HF):
        model, scale, side = load_preset(spec)
        if scale is not None:
            _refuse_input(spec, "its preset says which pixel range it expects")
    else:
        _require_input(spec, "a model on the hub does not say which pixel range it expects")
        model, scale, side = load_preset(spec)
    if scale is None:
        _require_input(spec, "its preset does not say which pixel range it expects")
    sized = dataclasses.replace(spec, size=spec.size or side)
    return _keras_teacher(sized, model, image_shape, labels=None, scale=scale)


def _refuse_input(spec: TeacherSpec, why: str) -> None:
    if spec.input is not None:
        raise InputError(f"{spec.flag}={spec.name},input={spec.input}: {why}; leave input out")


def _fixed_batch(spec: TeacherSpec, size: int) -> str:
    return f"{spec.flag}={spec.name} takes batches of {size} only; save it with a batch of any size"


def _require_input(spec: TeacherSpec, why: str) -> None:
    if spec.input is None:
        raise UnknownRangeError(
            f"{spec.flag}={spec.name}: {why}; add ,input={_RANGES} (std-keras check-teacher "
            "tries them)"
        )


def _labels(folder: Path) -> tuple[str, ...] | None:
    file = folder / "labels.txt"
    return tuple(read_text(file).splitlines()) if file.is_file() else None
