"""Two dense layers with a GELU between them, on the last axis."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from std_keras.layers.bias import add_bias
from std_keras.layers.compiled import is_fast, on_cpu_operation_by_operation
from std_keras.layers.gelu import biased_gelu, gelu

GELU_KINDS = ("exact", "tanh")


def check_gelu(gelu: str) -> str:
    """Returns `gelu` if it names a known form.

    Raises:
      ValueError: it is neither "exact" nor "tanh".
    """
    if gelu not in GELU_KINDS:
        raise ValueError(f"gelu={gelu!r} is not one of {', '.join(GELU_KINDS)}")
    return gelu


@keras.saving.register_keras_serializable(package="std_keras")
class MLP(keras.layers.Layer):
    """Dense, GELU, Dense: (..., features) -> (..., output).

    Kernels start LeCun-normal and biases zero, as in the Mixer (Tolstikhin et al. 2021,
    arXiv 2105.01601, with the defaults of its Flax code).

    Args:
      hidden: width between the two dense layers.
      output: width of the result.
      gelu: "exact" (with the error function, as PyTorch) or "tanh" (the approximation that JAX
        takes by default; the released Mixer weights were trained with it).
    """

    def __init__(self, hidden: int, output: int, gelu: str = "exact", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if hidden < 1 or output < 1:
            raise ValueError(f"hidden={hidden} and output={output} must both be at least 1")
        self.hidden = hidden
        # `output` is a property of every Keras layer, so the attribute has another name.
        self.output_dim = output
        self.gelu = check_gelu(gelu)
        self.hidden_dense = keras.layers.Dense(
            hidden, kernel_initializer="lecun_normal", dtype=self.dtype_policy, name="hidden"
        )
        self.output_dense = keras.layers.Dense(
            output, kernel_initializer="lecun_normal", dtype=self.dtype_policy, name="output"
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.hidden_dense.build(input_shape)
        self.output_dense.build((*input_shape[:-1], self.hidden))

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not (is_fast(training) and on_cpu_operation_by_operation()):
            hidden = self.hidden_dense(inputs)
            return self.output_dense(gelu(hidden, kind=self.gelu, training=training))
        # The same, with the first bias inside of the GELU and a faster gradient of the second: a
        # step of Mixer-S/4 in bfloat16 takes a quarter less time.
        first, second = self.hidden_dense, self.output_dense
        weights = (first.kernel, first.bias, second.kernel, second.bias)
        kernel, bias, *others = (ops.cast(w, self.compute_dtype) for w in weights)
        hidden = biased_gelu(ops.matmul(inputs, kernel), bias, kind=self.gelu)
        kernel, bias = others
        return add_bias(ops.matmul(hidden, kernel), bias)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "hidden": self.hidden,
            "output": self.output_dim,
            "gelu": self.gelu,
        }
