"""Updates of variables that are written down once for all variables of equal shape."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def shared(update: Callable[..., None]) -> Callable[..., None]:
    """The same function, in a graph traced once for each shape of its arguments.

    Only where one device trains: a function's argument cannot be a variable with a copy on each
    device.

    Args:
        update: of variables and tensors; it returns nothing.
    """
    copies = tf.distribute.get_strategy().num_replicas_in_sync
    if copies > 1 or tf.executing_eagerly():
        return update
    return tf.function(update, autograph=False)
