"""Work in another thread, so that a start does not wait for it.

Python runs one thread at a time, but TensorFlow leaves it to the others while it optimises a graph
or XLA compiles. Both can be done long before the first step needs them.
"""

from __future__ import annotations

import functools
import itertools
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import tensorflow as tf


@functools.cache
def _worker() -> ThreadPoolExecutor:
    """One thread: the main one is to have a core left."""
    return ThreadPoolExecutor(1, thread_name_prefix="background")


# A process that is forked has none of its parent's threads, and would wait for this one for ever.
os.register_at_fork(after_in_child=_worker.cache_clear)


def run_once(function: Any) -> Future[None]:
    """Calls a function with zeros, so that XLA has compiled it when it is needed.

    Args:
        function: a concrete function of tensors of known shapes, that changes nothing.
    """

    zeros = _zeros(function)  # Here: TensorFlow counts tensors, which names of functions tell.

    def call() -> None:
        function(*zeros)

    return _worker().submit(call)


def optimize_graph(function: Any) -> Future[None]:
    """Has TensorFlow do what it does with a graph before its first run: fold, fuse, place.

    The graph is not run, so it may be one that changes variables: TensorFlow does this work for a
    call, and a call that was cancelled before it began is left after it. What goes wrong with it is
    left to the first call to say.

    Args:
        function: a concrete function of tensors of known shapes.
    """
    # There is no public way to cancel a single call.
    from tensorflow.python.eager import cancellation, context, execute

    eager = context.context()
    device = eager.device_name  # Of the later calls, which take what is made for this device.
    attributes = itertools.chain(*eager.function_call_options.as_attrs().items())
    cancelled = cancellation.CancellationManager()
    cancelled.start_cancel()
    zeros = _zeros(function)

    def call() -> None:
        try:
            with tf.device(device):
                execute.execute_with_cancellation(
                    function.name.decode(),
                    num_outputs=len(function.outputs),
                    inputs=[*zeros, *function.captured_inputs],
                    attrs=tuple(attributes),
                    ctx=eager,
                    cancellation_manager=cancelled,
                )
        except tf.errors.OpError:
            pass  # It says that it was cancelled.

    return _worker().submit(call)


def _zeros(function: Any) -> list[tf.Tensor]:
    """For its arguments, which stand before what it captured."""
    count = len(function.inputs) - len(function.captured_inputs)
    return [tf.zeros(value.shape, value.dtype) for value in function.inputs[:count]]
