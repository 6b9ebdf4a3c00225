"""The machine's own rate of matrix products: what a step could reach at best."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.turns import Prepared


def prepare(*, shapes: Sequence[Sequence[int]], dtype: str) -> Prepared:
    """A maker for `turns`: the products (M, K) x (K, N) of all shapes, one after the other."""
    import tensorflow as tf

    from std_keras.quiet import load_tensorflow

    load_tensorflow()
    pairs = [
        (tf.random.normal((m, k), dtype=dtype), tf.random.normal((k, n), dtype=dtype))
        for m, k, n in shapes
    ]

    def multiply() -> None:
        for a, b in pairs:
            tf.matmul(a, b)[0, 0].numpy()

    return Prepared(call=multiply, facts={"flop": sum(2.0 * m * k * n for m, k, n in shapes)})
