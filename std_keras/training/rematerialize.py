"""Rematerialisation: memory for what is inside a block is traded for computing it twice.

The forward pass keeps what enters a block; the backward pass computes the block again before it
differentiates it (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv
1604.06174). `keras.RematScope` does not serve here: inside a `tf.function` it cannot pass the
argument `training` on, and a layer that draws random numbers or keeps statistics would do so twice,
with other numbers the second time.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from std_keras.errors import InputError
from std_keras.layers import TokenSet
from std_keras.models.sites import is_block


def rematerialized(model: keras.Model) -> keras.Model:
    """A functional model of the same layers that recomputes its blocks and token sets.

    It shares all weights and the random state with `model`, and gives the same outputs and
    gradients.

    Args:
        model: with blocks that are single layers, named "block_0" or "stage_0_block_0" and so on.

    Raises:
        InputError: if the model has none of them.
    """
    if not any(is_block(layer) for layer in model.layers):
        raise InputError(
            f"rematerialize=True: {model.name.removesuffix('_training')} has no blocks to "
            "recompute; leave it out, or use `accumulation_steps` to save memory"
        )
    clone = keras.models.clone_model(
        model,
        clone_function=lambda layer: _Recomputed(layer) if _is_recomputed(layer) else layer,
    )
    assert isinstance(clone, keras.Model)
    return clone


def _is_recomputed(layer: keras.Layer) -> bool:
    return is_block(layer) or isinstance(layer, TokenSet)


class _Recomputed(keras.Layer):
    """Calls a layer, and forgets what happened inside it until its gradient is wanted."""

    def __init__(self, layer: keras.Layer) -> None:
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        self.layer = layer
        self.built = True

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer.compute_output_spec(*args, **kwargs)

    def call(self, inputs: Any, tokens: Any = None, training: bool = False) -> Any:
        variables = self.layer.non_trainable_variables
        before = [tf.convert_to_tensor(v.value) for v in variables]
        more = {} if tokens is None else {"tokens": tokens}
        names = list(more.get("tokens", {}))
        after: list[list[Any]] = []
        keys: list[str] = []

        def forward(*flat: tf.Tensor) -> Any:
            given = {"tokens": dict(zip(names, flat[1:], strict=True))} if more else {}
            # Both times from the same state, so both times with the same random numbers.
            with keras.StatelessScope(state_mapping=zip(variables, before, strict=True)) as scope:
                outputs = self.layer(flat[0], training=training, **given)
                after.append([scope.get_current_value(v) for v in variables])
            if not isinstance(outputs, dict):
                return outputs
            keys[:] = list(outputs)
            return tuple(outputs.values())

        outputs = tf.recompute_grad(forward)(inputs, *(tokens[name] for name in names))
        for variable, value in zip(variables, after[0], strict=True):
            variable.assign(value)
        return dict(zip(keys, outputs, strict=True)) if keys else outputs
