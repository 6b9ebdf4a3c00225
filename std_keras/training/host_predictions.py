"""Predictions of teachers that run on the host, made in the input pipeline ahead of the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from std_keras.data.views import IMAGES
from std_keras.teachers import Teacher
from std_keras.teachers.predictions import HOST_LOGITS

_IN_FLIGHT = 2  # Batches: while the last parts of one are computed, the next has begun.


def with_host_predictions(
    batches: tf.data.Dataset, teachers: Sequence[Teacher], *, local_replicas: int
) -> tf.data.Dataset:
    """Batches (b, ...) of `data.pipeline` with the logits of their host's teachers beside them.

    A global batch goes to a teacher as a whole, whatever replicas it is for, so that its
    predictions have the same bits on any number of devices.

    Args:
        batches: one element per local replica, in order.
        teachers: all of the run; those on the device are passed over.
        local_replicas: of this process, which must be the only one.
    """
    hosted = [teacher for teacher in teachers if teacher.on_host]
    if not hosted:
        return batches
    needed = {IMAGES, *(teacher.view for teacher in teachers if not teacher.on_host)}

    @tf.autograph.experimental.do_not_convert
    def add(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        views = {teacher.view: batch[teacher.view] for teacher in hosted}
        if local_replicas > 1:
            views = {n: tf.reshape(view, (-1, *view.shape[2:])) for n, view in views.items()}
        logits = tf.stack([teacher.logits(views[teacher.view]) for teacher in hosted], axis=1)
        if local_replicas > 1:
            logits = tf.reshape(logits, (*batch[IMAGES].shape[:2], *logits.shape[1:]))
        # Views that nobody needs on a device are not taken there.
        kept = {n: v for n, v in batch.items() if n not in views or n in needed}
        return {**kept, HOST_LOGITS: logits}

    if local_replicas > 1:
        batches = batches.batch(local_replicas, drop_remainder=True)
    batches = batches.map(add, num_parallel_calls=_IN_FLIGHT, deterministic=True)
    if local_replicas > 1:
        batches = batches.unbatch()
    return batches.prefetch(_IN_FLIGHT * local_replicas)
