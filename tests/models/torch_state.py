"""Weights of Keras layers under the names that a PyTorch model gives them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


class TorchState:
    """Collects a state dict, one layer after the other.

    Args:
      torch: the module.
    """

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self.values: dict[str, Any] = {}

    def put_array(self, key: str, value: Any) -> None:
        self.values[key] = self._torch.tensor(np.array(value))

    def put(self, key: str, layer: keras.layers.Layer, *, as_convolution: bool = False) -> None:
        """A dense layer, a convolution or a norm."""
        weights = [weight.numpy() for weight in layer.weights]
        if isinstance(layer, keras.layers.BatchNormalization):
            self.put_array(f"{key}.running_mean", weights[2])
            self.put_array(f"{key}.running_var", weights[3])
            self.put_array(f"{key}.num_batches_tracked", 0)
        if weights[0].ndim == 4:
            weights[0] = weights[0].transpose(3, 2, 0, 1)
        elif weights[0].ndim == 2:
            weights[0] = weights[0].T
            if as_convolution:
                weights[0] = weights[0][..., None, None]
        self.put_array(f"{key}.weight", weights[0])
        if len(weights) > 1:
            self.put_array(f"{key}.bias", weights[1])


def transformer_block(state: TorchState, key: str, block: Any, *, attention: Any = None) -> None:
    """A block of timm's ViT and Swin."""
    attention = block.attention if attention is None else attention
    state.put(f"{key}.norm1", block.attention_norm)
    state.put(f"{key}.attn.qkv", attention.qkv)
    state.put(f"{key}.attn.proj", attention.projection)
    state.put(f"{key}.norm2", block.mlp_norm)
    state.put(f"{key}.mlp.fc1", block.mlp.hidden_dense)
    state.put(f"{key}.mlp.fc2", block.mlp.output_dense)


def logits(torch: Any, reference: Any, state: TorchState, pixels: np.ndarray) -> np.ndarray:
    """What the reference says with these weights, for pixels normalised to [-1, 1]."""
    reference.load_state_dict(state.values, strict=True)
    normalized = (pixels / 127.5 - 1.0).astype("float32").transpose(0, 3, 1, 2).copy()
    with torch.no_grad():
        return reference.eval()(torch.tensor(normalized)).numpy()
