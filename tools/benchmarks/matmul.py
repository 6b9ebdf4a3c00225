"""The machine's own rate of matrix products: what a step could reach at best."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from tools.benchmarks.turns import Prepared

# Of one call. To start a product and to wait for it take a GPU longer than the product itself.
_LEAST_SECONDS = 0.05
_MOST_TIMES = 1000


def prepare(*, shapes: Sequence[Sequence[int]], dtype: str) -> Prepared:
    """A maker for `turns`: the products (M, K) x (K, N) of all shapes, one after the other."""
    import tensorflow as tf

    from std_keras.quiet import load_tensorflow

    load_tensorflow()
    pairs = [
        (tf.random.normal((m, k), dtype=dtype), tf.random.normal((k, n), dtype=dtype))
        for m, k, n in shapes
    ]

    @tf.function
    def multiply(times: tf.Tensor) -> tf.Tensor:
        used = tf.zeros((), dtype)
        for _ in tf.range(times):
            for a, b in pairs:
                # Each waits for the one before. What is not used TensorFlow leaves out.
                with tf.control_dependencies([used]):
                    used += tf.matmul(a, b)[0, 0]
        return used

    times = least_times(lambda: multiply(tf.constant(1)).numpy())
    return Prepared(
        call=lambda: multiply(tf.constant(times)).numpy(),
        facts={"flop": sum(2.0 * m * k * n for m, k, n in shapes)},
        times=times,
    )


def least_times(call: Callable[[], object]) -> int:
    """How often to do something so that it takes long enough to be timed."""
    call()  # Traces.
    began = time.perf_counter()
    call()
    seconds = max(time.perf_counter() - began, 1e-9)
    return min(math.ceil(_LEAST_SECONDS / seconds), _MOST_TIMES)
