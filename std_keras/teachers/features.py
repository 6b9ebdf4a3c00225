"""Features of a part of a data set, computed once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from std_keras.data.source import Progress, Source, no_progress
from std_keras.errors import Interrupted
from std_keras.layers.compiled import fast_inference
from std_keras.teachers.inference_form import inference_form

BATCH_SIZE = 64


@dataclass(frozen=True)
class Features:
    """What a network says of every example.

    Attributes:
        values: (n, F) float32.
        labels: (n,) int32.
        identities: (n,), the same for copies of one picture.
    """

    values: np.ndarray
    labels: np.ndarray
    identities: np.ndarray


def compute_features(
    model: keras.Model,
    source: Source,
    *,
    crop_ratio: float = 1.0,
    bfloat16: bool = False,
    progress: Progress = no_progress,
    what: str = "computing features",
    stop: Callable[[], bool] = lambda: False,
) -> Features:
    """Runs every example through a network in the form that predicts fastest.

    Args:
        model: pixels (B, H, W, C) of 0..255 to features (B, F).
        source: the examples.
        crop_ratio: side of the square that is cut from the centre of a picture, as a part of its
            short side; 1 takes the images as `source` decodes them.
        bfloat16: whether the network may compute in bfloat16.
        progress: shows how far it is.
        what: what is being done, for the person reading.
        stop: asked between batches.

    Raises:
        Interrupted: because `stop()` was true.
    """
    network = inference_form(model, bfloat16=bfloat16) or model
    shape = source.image_shape

    @tf.function(input_signature=[tf.TensorSpec((None, *shape), tf.uint8)], autograph=False)
    def predict(images: tf.Tensor) -> tf.Tensor:
        with fast_inference():
            return tf.cast(network(tf.cast(images, tf.float32), training=False), tf.float32)

    def box(height: tf.Tensor, width: tf.Tensor, _: dict[str, tf.Tensor]) -> tf.Tensor:
        return _central_box(height, width, size=shape[0], ratio=crop_ratio)

    @tf.autograph.experimental.do_not_convert
    def decode(raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if crop_ratio == 1.0:
            return source.decode(raw)
        return source.decode_crops(raw, box=box, drawn={})

    batches = source.sequential(batch_size=BATCH_SIZE).map(
        decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    values = np.empty((source.size, model.output_shape[-1]), np.float32)
    labels = np.empty((source.size,), np.int32)
    identities: list[bytes] = []
    count = -(-source.size // BATCH_SIZE)
    for images, some in progress(batches.prefetch(2), total=count, what=what):
        if stop():
            raise Interrupted("interrupted while features were computed; nothing was written")
        rows = slice(len(identities), len(identities) + len(some))
        values[rows], labels[rows] = predict(images).numpy(), some.numpy()
        identities += [hashlib.blake2b(image, digest_size=16).digest() for image in images.numpy()]
    return Features(values, labels, np.array(identities))


def _central_box(height: tf.Tensor, width: tf.Tensor, *, size: int, ratio: float) -> tf.Tensor:
    """Top, left, height and width (4,) of what evaluation takes of a picture."""
    sides = tf.stack([height, width])
    square = tf.cast(tf.round(ratio * tf.cast(tf.reduce_min(sides), tf.float32)), tf.int32)
    # Evaluation does not touch what has the size already.
    square = tf.where(tf.reduce_all(tf.equal(sides, size)), size, square)
    return tf.concat([(sides - square) // 2, [square, square]], axis=0)
