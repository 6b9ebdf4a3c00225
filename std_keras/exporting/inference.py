"""What is exported: one head of a model, in float32, with nothing that the head does not need."""

from __future__ import annotations

import keras
import tensorflow as tf

from std_keras import models
from std_keras.layers.layer_config import with_precision


def inference_model(model: keras.Model, *, head: str) -> keras.Model:
    """The part of a model that predicts with one head, computing in float32.

    Args:
        model: a student or a plain model; images (B, H, W, C) of pixels 0..255 to logits.
        head: see `std_keras.models.prediction_model`.

    Returns:
        A model with the output logits (B, num_classes), float32. It shares the weights of `model`,
        unless that one computes in another type: then it has a copy.

    Raises:
        InputError: the model does not have this head.
    """
    return models.prediction_model(_in_float32(model), head=head)


class ServingModule(tf.Module):
    """A model as one TensorFlow function of images, with the variables that it reads.

    Args:
        model: images (B, H, W, C) to logits (B, num_classes).
        batch_size: fixed, or None for any.
        input_type: "uint8" or "float32"; pixels 0..255 both.
        probabilities: whether to return them besides the logits.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        batch_size: int | None,
        input_type: str = "uint8",
        probabilities: bool = False,
    ) -> None:
        super().__init__()
        shape = (batch_size, *model.input_shape[1:])

        def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
            logits = tf.cast(model(tf.cast(images, tf.float32), training=False), tf.float32)
            outputs = {"logits": logits}
            if probabilities:
                outputs["probabilities"] = tf.nn.softmax(logits)
            return outputs

        self.serve = tf.function(
            serve,
            input_signature=[tf.TensorSpec(shape, tf.as_dtype(input_type), name="images")],
            autograph=False,
        )
        # Only these, not the Keras layers: so the files do not refer to classes of this package.
        self.model_variables = list(self.serve.get_concrete_function().variables)


def _in_float32(model: keras.Model) -> keras.Model:
    """The model itself if it computes in float32, else a copy that does, with the same weights.

    Weights are float32 under mixed precision too. The phone runs float32 or integers, and bfloat16
    casts between all layers would only cost time and digits.
    """
    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model
    copy = type(model).from_config(with_precision(model.get_config(), "float32"))
    copy.set_weights(model.get_weights())
    return copy
