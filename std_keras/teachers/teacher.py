"""A teacher as the training step sees it: images in, logits out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import keras
import tensorflow as tf

from std_keras import losses, progress
from std_keras.data.views import IMAGES
from std_keras.errors import InputError, reason_of
from std_keras.files.texts import normalized
from std_keras.layers.compiled import fast_inference
from std_keras.teachers.inference_form import inference_form

LEAST = 1e-30
"""What a probability counts at least, for its logarithm."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

# What a network expects for a pixel of value v in 0..255.
INPUT_RANGES: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "byte": lambda v: v,  # 0..255; normalised inside the network
    "unit": lambda v: v / 255.0,  # 0..1
    "signed": lambda v: v / 127.5 - 1.0,  # -1..1
    # Channels with ImageNet's mean and standard deviation, as PyTorch networks expect them.
    "imagenet": lambda v: (v / 255.0 - tf.constant(_IMAGENET_MEAN)) / tf.constant(_IMAGENET_STD),
}


@dataclass(frozen=True)
class Teacher:
    """A trained classifier in inference mode.

    Attributes:
        name: how the user named it.
        site: where in the student its token sets read.
        network: float32 images in the network's own range -> (B, K) logits or probabilities.
        scale: turns pixels of 0..255 into the network's own range.
        image_shape: (H, W, C) of the network's input.
        probabilities: whether the network returns probabilities instead of logits.
        compilable: whether XLA can compile the network.
        label_names: class names in the order of the outputs, if known.
        model: the Keras model that the network calls, if it is one.
        view: the tensor of a batch that it looks at: the student's images, or a larger view of the
            same part of the pictures (see `data.views`).
        order: for each class of the data set, its place among the network's outputs; None if they
            are the same.
        on_host: whether the network runs on the CPU outside TensorFlow. In training its predictions
            are made in the input pipeline, ahead of the step.
        loaded_mib: by which the process grew while it was loaded.
        least: what a probability counts at least; half a step of those that are rounded, for a 0
            among them is not nothing.
    """

    name: str
    site: str
    network: Callable[[tf.Tensor], tf.Tensor]
    scale: Callable[[tf.Tensor], tf.Tensor]
    image_shape: tuple[int, int, int]
    probabilities: bool
    compilable: bool
    label_names: tuple[str, ...] | None
    model: keras.Model | None = None
    view: str = IMAGES
    order: tuple[int, ...] | None = None
    on_host: bool = False
    loaded_mib: float = 0.0
    least: float = LEAST

    def inputs(self, images: tf.Tensor) -> tf.Tensor:
        """What the network takes, from images (B, H, W, C) of 0..255 of any size."""
        pixels = tf.cast(images, tf.float32)
        height, width, channels = self.image_shape
        if tuple(pixels.shape[1:3]) != (height, width):
            # Cubic interpolation overshoots; the network was trained on pixels.
            pixels = tf.image.resize(pixels, (height, width), "bicubic", antialias=True)
            pixels = tf.clip_by_value(pixels, 0.0, 255.0)
        if pixels.shape[-1] == 1 and channels == 3:
            pixels = tf.repeat(pixels, 3, axis=-1)
        return self.scale(pixels)

    def logits(self, images: tf.Tensor) -> tf.Tensor:
        """Classifies augmented images.

        Args:
            images: (B, H, W, C), pixels of 0..255, of any size and number type.

        Returns:
            (B, K) logits, float32, or float64 from a network that computes in that. No gradient
            flows into the teacher.
        """
        return self.classify(self.inputs(images))

    def classify(self, inputs: tf.Tensor) -> tf.Tensor:
        """(B, K) logits from what `inputs` gives, without a gradient; float32 as a rule."""
        with fast_inference():
            outputs = self.network(inputs)
        if not (tf.is_tensor(outputs) and outputs.dtype == tf.float64):
            outputs = tf.cast(outputs, tf.float32)
        if self.probabilities:
            outputs = tf.math.log(tf.clip_by_value(outputs, self.least, 1.0))
        if self.order is not None:
            outputs = tf.gather(outputs, self.order, axis=1)
        return tf.stop_gradient(outputs)

    def not_finite(self, images: tf.Tensor) -> list[int]:
        """Positions in a batch (B, H, W, C) for which the teacher gives no distribution."""
        finite = tf.math.is_finite(losses.negative_entropy(self.logits(images)))
        return tf.where(~finite)[:, 0].numpy().tolist()

    def fast(self, *, bfloat16: bool) -> Teacher:
        """The same teacher with its network in the form that predicts fastest.

        A SavedModel, and a Keras model whose `call` is written in Python, stay as they are.

        Args:
            bfloat16: whether it may compute in bfloat16.
        """
        if self.model is None:
            return self
        try:
            model = inference_form(self.model, bfloat16=bfloat16)
        except Exception as error:  # A stranger's layers; the teacher works without, only slower.
            reason = reason_of(error)
            progress.warn(f"teacher {self.name} cannot be optimized and runs as saved: {reason}")
            return self
        if model is None:
            return self
        return replace(self, model=model, network=lambda images: model(images, training=False))

    def compiled(self) -> Teacher:
        """The same teacher with its network compiled by XLA, where that can be done and pays.

        On a CPU it does not: a ResNet-56 takes 1.4 times as long, for XLA's convolutions are slower
        than TensorFlow's there.
        """
        if not (self.compilable and tf.config.list_physical_devices("GPU")):
            return self
        return replace(self, network=tf.function(self.network, jit_compile=True))


def check_labels(
    *, name: str, num_classes: int, label_names: tuple[str, ...] | None, wanted: tuple[str, ...]
) -> None:
    """Compares a teacher's classes with the data set's.

    Raises:
        InputError: if their number differs, or a name that both know.
    """
    if num_classes != len(wanted):
        raise InputError(
            f"teacher={name} has {num_classes} classes, the data set has {len(wanted)}; use a "
            "teacher that was trained on the data set's classes"
        )
    cure = "use a teacher that was trained on the same classes in the same order"
    if sorted(normalized(label_names or wanted)) == sorted(normalized(wanted)):
        cure = (
            "they are the same classes in another order: add ,labels=own to take them by their "
            "names"
        )
    for index, (own, other) in enumerate(zip(label_names or wanted, wanted, strict=False)):
        if normalized([own]) != normalized([other]):
            raise InputError(
                f"teacher={name} names class {index} {own!r}, the data set names it {other!r}; "
                + cure
            )
