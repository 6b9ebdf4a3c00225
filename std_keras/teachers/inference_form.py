"""A teacher's network as it predicts fastest: without its batch normalisations, and in bfloat16."""

from __future__ import annotations

import keras

from std_keras.layers.layer_config import with_precision
from std_keras.teachers.folding import Shift, foldable, folded_weights

# Eight bits hold a pixel, but not the mean that is taken from it.
_OF_PIXELS = (keras.layers.Normalization, keras.layers.Rescaling)


def inference_form(model: keras.Model, *, bfloat16: bool) -> keras.Model | None:
    """A copy of a network that predicts the same with less work.

    Batch normalisation is folded into the product before it, where there is one (`folding.py`).
    In bfloat16 all layers compute in that but those at the ends, which scale pixels and give the
    outputs; weights stay float32, as in a student's `mixed_precision` (Micikevicius et al. 2018,
    arXiv 1710.03740). Layers of another precision than float32 stay as they are.

    Args:
        model: a functional or sequential network.
        bfloat16: whether it may compute in bfloat16.

    Returns:
        The copy, not to be trained; None if there is nothing to change, or if the model holds no
        description of its layers, as one whose `call` is written in Python.
    """
    if type(model) not in described_kinds():  # A subclass may compute something more.
        return None
    norms = foldable(model)
    if not (norms or bfloat16 or any(isinstance(layer, keras.Model) for layer in model.layers)):
        return None
    copy = _copied(model, norms, bfloat16=bfloat16)
    copy.trainable = False
    return copy


def described_kinds() -> tuple[type, ...]:
    """The classes of networks whose layers and links are known. Keras exports but one of them."""
    inputs = keras.Input((1,))
    return keras.Sequential, type(keras.Model(inputs, inputs))


def _copied(model: keras.Model, norms: dict[str, str], *, bfloat16: bool) -> keras.Model:
    """A copy in which the batch normalisations `norms`, by product, are folded."""
    if isinstance(model, keras.Sequential):
        outputs = [layer.name for layer in model.layers[-1:]]
    else:
        outputs = model.output_names

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.Model):
            if inner := inference_form(layer, bfloat16=bfloat16):
                return inner
            same = type(layer).from_config(layer.get_config())
            same.set_weights(layer.get_weights())
            return same
        config = layer.get_config()
        if bfloat16 and layer.name not in outputs and not isinstance(layer, _OF_PIXELS):
            config = with_precision(config, "mixed_bfloat16", instead_of="float32")
        if layer.name in norms.values():
            return Shift(name=layer.name, dtype=config["dtype"])
        if layer.name in norms and "use_bias" in config:
            config["use_bias"] = False
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=copied)
    for layer in model.layers:
        if layer.name in norms:
            norm = model.get_layer(norms[layer.name])
            kernel, shift = folded_weights(layer, norm)
            copy.get_layer(layer.name).set_weights([kernel])
            copy.get_layer(norm.name).set_weights([shift])
        elif layer.weights and layer.name not in norms.values():
            if not isinstance(layer, keras.Model):
                copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy
