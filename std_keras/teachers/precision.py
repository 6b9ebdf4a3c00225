"""Teachers that compute in bfloat16, whatever precision they were saved with."""

from __future__ import annotations

from typing import Any

import keras

_SAVED, _WANTED = "float32", "mixed_bfloat16"
# Eight bits hold a pixel, but not the mean that is taken from it.
_OF_PIXELS = (keras.layers.Normalization, keras.layers.Rescaling)


def in_bfloat16(model: keras.Model) -> keras.Model | None:
    """A copy of a network whose layers compute in bfloat16, but for those at its ends.

    Those that scale pixels and those that give the outputs, that is.

    Weights stay float32, as in a student's `--mixed_precision` (Micikevicius et al. 2018, arXiv
    1710.03740), so batch statistics lose nothing. Layers of another precision than float32 stay as
    they are.

    Args:
        model: a functional or sequential network.

    Returns:
        The copy; None for models that hold no description of their layers, as those whose `call`
        is written in Python.
    """
    if isinstance(model, keras.Sequential):
        outputs = [layer.name for layer in model.layers[-1:]]
    else:
        outputs = getattr(model, "output_names", [])

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if layer.name not in outputs and not isinstance(layer, _OF_PIXELS):
            config = _rewritten(config)
        elif isinstance(layer, keras.Model) and (inner := in_bfloat16(layer)):
            return inner
        return type(layer).from_config(config)

    try:
        copy = keras.models.clone_model(model, clone_function=copied)
        copy.set_weights(model.get_weights())
    except (ValueError, TypeError, NotImplementedError):
        return None
    copy.trainable = False
    return copy


def _rewritten(config: Any) -> Any:
    """A layer's configuration with the precision replaced, those of inner layers too."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            if config["config"] == {"name": _SAVED}:
                return {**config, "config": {"name": _WANTED}}
            return config
        return {name: _rewritten(value) for name, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_rewritten(value) for value in config)
    return config
