"""Updates of variables that are written down once for all variables of equal shape."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from std_keras.layers.compiled import on_cpu_operation_by_operation

# TensorFlow would copy the function into the graph for every variable, and then optimise the
# copies: of Mixer-S/4 half of its work on the graph of the step.
_NOT_COPIED = {"_noinline": True}


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
    attributes = _NOT_COPIED if on_cpu_operation_by_operation() else None
    return tf.function(update, autograph=False, experimental_attributes=attributes)
