"""Multi-head self-attention."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="std_keras")
class SelfAttention(keras.layers.Layer):
    """Every row attends to every row of its sequence: (B, T, N) -> (B, T, N).

    softmax(Q K^T / sqrt(N / heads) + bias) V per head, then a projection (Vaswani et al. 2017,
    arXiv 1706.03762). One dense layer makes queries, keys and values, in this order, with a bias,
    as in timm's ViT and Swin. The softmax is never below float32.

    Called as `layer(inputs)` or `layer(inputs, score_bias=...)` with a tensor (W, heads, T, T)
    where W divides B; example b gets score_bias[b mod W].

    Args:
      num_heads: divides N.
    """

    def __init__(self, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_heads < 1:
            raise ValueError(f"num_heads={num_heads} must be at least 1")
        self.num_heads = num_heads

    def build(self, input_shape: tuple[int | None, ...], *_: Any) -> None:
        rows, channels = input_shape[1:]
        if rows is None or channels is None or channels % self.num_heads:
            raise ValueError(
                f"input shape {tuple(input_shape)} must be (B, T, N) with fixed T, N, and "
                f"num_heads={self.num_heads} must divide N"
            )
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        self.qkv = keras.layers.Dense(
            3 * channels, kernel_initializer=initializer, dtype=self.dtype_policy, name="qkv"
        )
        self.projection = keras.layers.Dense(
            channels,
            kernel_initializer=initializer.clone(),
            dtype=self.dtype_policy,
            name="projection",
        )
        self.qkv.build(input_shape)
        self.projection.build(input_shape)

    def call(self, inputs: Any, score_bias: Any = None) -> Any:
        rows, channels = inputs.shape[1:]
        head_dim = channels // self.num_heads
        query, key, value = (
            ops.transpose(ops.reshape(part, (-1, rows, self.num_heads, head_dim)), (0, 2, 1, 3))
            for part in ops.split(self.qkv(inputs), 3, axis=-1)
        )
        scores = ops.matmul(query * head_dim**-0.5, ops.transpose(key, (0, 1, 3, 2)))
        scores = ops.cast(scores, keras.backend.result_type(scores.dtype, "float32"))
        if score_bias is not None:
            scores = self._biased(scores, ops.cast(score_bias, scores.dtype))
        weights = ops.cast(_softmax(scores), self.compute_dtype)
        mixed = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        return self.projection(ops.reshape(mixed, (-1, rows, channels)))

    def _biased(self, scores: Any, score_bias: Any) -> Any:
        count, *shape = score_bias.shape
        if count == 1:
            return scores + score_bias
        return ops.reshape(ops.reshape(scores, (-1, count, *shape)) + score_bias, (-1, *shape))

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...], *_: Any
    ) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"num_heads": self.num_heads}


def _softmax(scores: Any) -> Any:
    """Over the last axis."""
    if scores.shape[-1] == 1:
        # Keras warns of this case, which the smallest maps bring: 1, with a gradient of 0.
        return 0.0 * scores + 1.0
    return ops.softmax(scores, axis=-1)
