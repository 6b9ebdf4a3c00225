"""The outputs of a model's layers, for analyses that look inside."""

from __future__ import annotations

import re

import keras

from std_keras.errors import InputError

WHICH = ("blocks", "all")

# They move numbers about, or do nothing in inference.
_PASSIVE: tuple[str, ...] = (
    "InputLayer",
    "Rescaling",
    "Reshape",
    "Flatten",
    "Permute",
    "ZeroPadding2D",
)
_PASSIVE += ("Cropping1D", "Cropping2D", "Concatenate", "Dropout", "StochasticDepth")
# Parts of a block or a stem that is made of several layers, such as "block_3_conv_1".
_INNER = re.compile(r"(?:(?:stage_\d+_)?block_\d+|stem)_.+")


def layer_outputs(model: keras.Model, *, which: str = "blocks") -> keras.Model:
    """A model whose output is a dictionary: features (B, ...) by the name of a layer.

    A layer with several outputs, such as a token set, gives each as "layer/0", "layer/1", ...
    (a token set: "layer/channel" and "layer/spatial").

    Args:
        model: a functional model with one input.
        which: "blocks": stem, blocks, norms, pooled features, tokens and heads; "all": also the
            layers inside of blocks, where a block is made of several layers.

    Raises:
        InputError: the model has no layers to look into.
    """
    outputs = {}
    for layer in model.layers:
        if type(layer).__name__ in _PASSIVE:
            continue
        if which == "blocks" and _INNER.fullmatch(layer.name):
            continue
        tensors = layer.output
        if keras.backend.is_keras_tensor(tensors):
            outputs[layer.name] = tensors
            continue
        names = sorted(getattr(layer, "token_names", ())) or range(len(tensors))
        outputs |= {f"{layer.name}/{n}": t for n, t in zip(names, tensors, strict=True)}
    if not outputs:
        raise InputError(f"the model {model.name} has no layers to compare")
    return keras.Model(model.input, outputs, name=f"{model.name}_layers")
