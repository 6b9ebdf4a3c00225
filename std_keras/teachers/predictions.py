"""What a teacher predicts for a view of an image, as losses need it and as a cache keeps it.

A *view* is one image of the augmented stream. Axes here: B views, M teachers, K classes; the batch
comes first, so that predictions are cut for devices and for accumulation like images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from std_keras import losses
from std_keras.teachers.teacher import Teacher

CLASS, CONFIDENCE = "teacher_class", "teacher_negative_entropy"
LOGITS, TOP_CLASSES, REST = "teacher_logits", "teacher_top_classes", "teacher_rest"
HOST_LOGITS = "host_teacher_logits"  # (B, M', K) of the M' teachers on the host, in a batch.
NAMES = (CLASS, CONFIDENCE, LOGITS, TOP_CLASSES, REST)
_LARGEST = 65504.0  # Of float16.


@dataclass(frozen=True)
class TeacherPredictions:
    """What all teachers predict for a batch, as losses need it.

    Attributes:
        classes: (B, M) int64, the top-1 classes.
        negative_entropies: (B, M) float32, nats.
        logits: (B, M, K) float32; only where the loss needs them.
    """

    classes: tf.Tensor
    negative_entropies: tf.Tensor
    logits: tf.Tensor | None = None

    @classmethod
    def of(cls, batch: Mapping[str, tf.Tensor]) -> TeacherPredictions | None:
        """The decoded predictions among the tensors of a batch; None if the batch has none."""
        if CLASS not in batch:
            return None
        return cls(batch[CLASS], batch[CONFIDENCE], batch.get(LOGITS))


@dataclass(frozen=True)
class PredictionFormat:
    """Which numbers stand for a prediction.

    Attributes:
        num_classes: K.
        soft: whether they include logits, besides the top-1 class and the negative entropy.
        half: logits in float16, as a cache keeps them: a logit that lies d below the largest one is
            kept with an error of at most d / 2048. All others are exact.
        top_k: how many of the largest logits are kept; 0 for all. The probability that remains is
            kept as one number, and shared out evenly: every other class gets the same logit, by
            which they have together the probability that the teacher gave them (at temperature 1).
    """

    num_classes: int
    soft: bool
    half: bool = False
    top_k: int = 0

    def encode(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """Logits (B, M, K) float32 to predictions by name, each with leading axes (B, M)."""
        predictions = {
            CLASS: tf.argmax(logits, axis=-1),
            CONFIDENCE: losses.negative_entropy(logits),
        }
        if not self.soft:
            return predictions
        if not self.half:
            return predictions | {LOGITS: logits}
        # Softmax does not see the shift, and float16 is finest near 0, where it counts.
        shifted = logits - tf.reduce_max(logits, axis=-1, keepdims=True)
        if not self._cut:
            return predictions | {LOGITS: _half(shifted)}
        top, classes = tf.math.top_k(shifted, k=self.top_k)
        others = _put(shifted, classes, tf.fill(tf.shape(top), -float("inf")))
        mass = tf.reduce_logsumexp(others, axis=-1)
        rest = mass - tf.math.log(float(self.num_classes - self.top_k))
        return predictions | {LOGITS: _half(top), TOP_CLASSES: classes, REST: _half(rest)}

    def decode(self, predictions: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What `encode` gave, with whole logits (B, M, K) float32 if there are logits."""
        decoded = {name: predictions[name] for name in (CLASS, CONFIDENCE)}
        if not self.soft:
            return decoded
        logits = predictions[LOGITS]
        if self.half:
            logits = tf.cast(logits, tf.float32)
        if self._cut:
            rest = tf.cast(predictions[REST], tf.float32)[..., tf.newaxis]
            others = tf.repeat(rest, self.num_classes, axis=-1)
            logits = _put(others, predictions[TOP_CLASSES], logits)
        return decoded | {LOGITS: logits}

    @property
    def _cut(self) -> bool:
        return self.half and 0 < self.top_k < self.num_classes


def _put(logits: tf.Tensor, classes: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Logits (B, M, K) with other values (B, M, k) at the given classes (B, M, k)."""
    shape = logits.shape
    rows = tf.range(shape[0] * shape[1])[:, tf.newaxis]
    flat = tf.reshape(classes, (shape[0] * shape[1], -1))
    places = tf.stack([tf.broadcast_to(rows, tf.shape(flat)), flat], axis=-1)
    changed = tf.tensor_scatter_nd_update(
        tf.reshape(logits, (-1, shape[2])), places, tf.reshape(values, tf.shape(flat))
    )
    return tf.reshape(changed, shape)


def _half(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.maximum(values, -_LARGEST), tf.float16)


def predict(
    teachers: Sequence[Teacher], batch: Mapping[str, tf.Tensor], form: PredictionFormat
) -> dict[str, tf.Tensor]:
    """What teachers predict for a batch, each for its own view of it, encoded, each (B, M, ...).

    Logits that came with the batch from teachers on the host are used as they are.
    """
    hosted = batch.get(HOST_LOGITS)
    there = iter(() if hosted is None else tf.unstack(hosted, axis=1))
    logits = [
        next(there)
        if teacher.on_host and hosted is not None
        else teacher.logits(batch[teacher.view])
        for teacher in teachers
    ]
    return form.encode(tf.stack(logits, axis=1))
