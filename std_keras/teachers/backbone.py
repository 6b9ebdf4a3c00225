"""A trained network without its class head: a source of features for other classes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras

from std_keras import models
from std_keras.config.model import ModelOptions
from std_keras.errors import InputError, reason_of
from std_keras.teachers.inference_form import described_kinds
from std_keras.teachers.load import load_network
from std_keras.teachers.pixel_scale import pixel_input
from std_keras.teachers.spec import TeacherSpec
from std_keras.teachers.teacher import Teacher

# What may stand between the class head and the output, and changes no feature.
_AFTER_HEAD = (
    keras.layers.Activation,
    keras.layers.Softmax,
    keras.layers.Identity,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Rescaling,
)

_HEAD_WEIGHT = re.compile("classification/")


@dataclass(frozen=True)
class Backbone:
    """A network from pixels of 0..255 to features.

    Attributes:
        name: how the user named it.
        model: pixels (B, H, W, C) of 0..255 to features (B, F); it normalises its own input.
        origin: which of its values the features are, in words.
        model_options: if it is one of the models of this project, as it would be made here: its
            name and options. With a head it is one again.
    """

    name: str
    model: keras.Model
    origin: str
    model_options: ModelOptions | None = None

    @property
    def num_features(self) -> int:
        """F of the features (B, F)."""
        return int(self.model.output_shape[-1])

    def with_head(self, num_classes: int) -> keras.Model:
        """The network with a new linear class head: pixels of 0..255 to logits (B, K).

        It shares the weights of `model`.
        """
        head = keras.layers.Dense(num_classes, name="classification", dtype="float32")
        return keras.Model(self.model.input, head(self.model.output), name=self.model.name)


def load_backbone(spec: TeacherSpec, *, size: int, channels: int) -> Teacher:
    """Loads whatever can be a teacher, for `backbone_of`.

    Args:
        spec: what the user wrote, parsed as a backbone.
        size: side of its input in pixels, if neither the network nor `spec` says it.
        channels: of the images; grey ones fit networks of one channel and of three.

    Raises:
        InputError: if it does not exist, is no Keras network, or takes other images.
    """
    teacher = load_network(spec, image_shape=(size, size, channels), headless=True)
    if teacher.model is None:
        raise InputError(
            f"backbone={spec.name} is not a Keras network, and a run directory holds one; save "
            "it as a .keras file"
        )
    height, width, _ = teacher.image_shape
    if height != width:
        raise InputError(
            f"backbone={spec.name} takes images of {height}x{width} pixels; they must be square"
        )
    return teacher


def backbone_of(
    teacher: Teacher, *, channels: int, model_options: ModelOptions | None = None
) -> Backbone:
    """The network of a loaded teacher without its class head.

    Args:
        teacher: from `load_backbone`.
        channels: of the images; grey ones are repeated for a network of three channels.
        model_options: what the run it is from says about its model; None if it is from elsewhere.

    Raises:
        InputError: if it takes other images, or returns no features.
    """
    flag = f"backbone={teacher.name}"
    height, width, own = teacher.image_shape
    if own != channels and (channels, own) != (1, 3):
        raise InputError(f"{flag} takes images of {own} channel(s), the data set's have {channels}")
    assert teacher.model is not None
    teacher.model.trainable = True  # As a teacher it was fixed; here it is a model like any other.
    features, origin = without_head(teacher.model)
    if own == channels and _is_model_of_ours(features, model_options):
        assert model_options is not None
        model = keras.Model(features.inputs[0], features.output, name=model_options.name)
        return Backbone(teacher.name, model, origin, model_options)
    try:
        inputs, pixels = pixel_input(teacher, channels=channels)
    except ValueError as error:
        raise InputError(f"{flag}: {error}; save a model that does it itself") from error
    try:
        values = features(pixels)
        values = values if len(values.shape) == 2 else _pooled(values)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{flag} gives no features of images of {height}x{width} pixels: {reason_of(error)}"
        ) from error
    name = teacher.model.name
    if name in models.names():  # It is not that one: it has another inside.
        name = f"{name}_inside"
    return Backbone(teacher.name, keras.Model(inputs, values, name=name), origin)


def _is_model_of_ours(features: keras.Model, options: ModelOptions | None) -> bool:
    """Whether what its options describe, but for the head, is all that a network consists of."""
    if options is None or options.name not in models.names():
        return False
    height, width, channels = features.input_shape[1:]
    described = models.create(
        options.name,
        input_shape=(height, width, channels),
        num_classes=2,
        **options.architecture(),
    )
    wanted = {w.path: w.shape for w in described.weights if not _HEAD_WEIGHT.match(w.path)}
    return wanted == {w.path: w.shape for w in features.weights}


def without_head(model: keras.Model) -> tuple[keras.Model, str]:
    """A network up to what its class head reads, and that in words.

    A class head is the last dense layer, or a last convolution of what is one pixel; a softmax and
    the like may follow it. A network without one gives its output. The model returned shares its
    weights with `model`.
    """
    if not isinstance(model, described_kinds()):
        return model, "its output, for its layers are not known"
    if len(models.head_names(model)) > 1:  # A student: its class head alone counts.
        model = models.prediction_model(model, head="classification")
    head = _head(model)
    if head is None:
        return model, "its output, for it has no class head"
    return keras.Model(
        model.inputs[0], head.input, name=model.name
    ), f"what layer {head.name} reads"


def _head(model: keras.Model) -> Any:
    made = {id(tensor): layer for layer in model.layers for tensor in _outputs(layer)}
    tensor = model.outputs[0]
    while (layer := made.get(id(tensor))) is not None:
        if isinstance(layer, keras.layers.Dense) or _is_dense(layer):
            return layer
        if not isinstance(layer, _AFTER_HEAD):
            return None
        tensor = layer.input
    return None


def _is_dense(layer: Any) -> bool:
    """Whether it is a convolution of one pixel, as the head of a MobileNet."""
    return isinstance(layer, keras.layers.Conv2D) and tuple(layer.input.shape[1:3]) == (1, 1)


def _outputs(layer: keras.layers.Layer) -> Iterable[Any]:
    try:
        output = layer.output
    except (AttributeError, ValueError):  # Called several times, or never.
        return ()
    return output if isinstance(output, (list, tuple)) else (output,)


def _pooled(values: Any) -> Any:
    """Features (B, H, W, F) or (B, P, F), their mean over the places: (B, F)."""
    if len(values.shape) == 4:
        return keras.layers.GlobalAveragePooling2D(name="pooled_features")(values)
    if len(values.shape) == 3:
        return keras.layers.GlobalAveragePooling1D(name="pooled_features")(values)
    raise ValueError(f"its output has the shape {tuple(values.shape)}")
