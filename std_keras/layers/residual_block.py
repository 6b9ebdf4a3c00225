"""What the blocks of all families share: branches that are dropped by chance, and added."""

from __future__ import annotations

from typing import Any

import keras

from std_keras.layers.mlp import check_gelu
from std_keras.layers.stochastic_depth import StochasticDepth, check_rate


class ResidualBlock(keras.layers.Layer):
    """A block of one shape in and out, whose branches `_drop` drops by stochastic depth.

    Args:
      gelu: "exact" or "tanh".
      stochastic_depth: probability in [0, 1) of dropping each branch, per sample and
        independently.
      seed: of the stochastic depth.
    """

    def __init__(
        self,
        *,
        gelu: str = "exact",
        stochastic_depth: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.gelu = check_gelu(gelu)
        self.stochastic_depth = check_rate("stochastic_depth", stochastic_depth)
        self.seed = seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.drop_branch: StochasticDepth | None = None
        if self.stochastic_depth > 0.0:
            self.drop_branch = StochasticDepth(
                self.stochastic_depth,
                seed=self.seed,
                dtype=self.dtype_policy,
                name="stochastic_depth",
            )
            self.drop_branch.build(input_shape)

    def _drop(self, branch: Any, training: bool) -> Any:
        return branch if self.drop_branch is None else self.drop_branch(branch, training=training)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "gelu": self.gelu,
            "stochastic_depth": self.stochastic_depth,
            "seed": self.seed,
        }
