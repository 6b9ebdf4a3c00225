"""Other outputs of a model, found by layer name; so they work after `keras.models.load_model` too.

Every model returned here shares its weights with the one it was made from.
"""

from __future__ import annotations

import math
import re
from typing import Any

import keras

from std_keras.errors import InputError
from std_keras.layers import CombineHeads, TrainAlong
from std_keras.layers.combine_heads import COMBINATIONS
from std_keras.models.student_plan import SITES

_HEAD = re.compile(r"distillation_(\d+)_(intermediate|last)")
_AUXILIARY = re.compile(r"auxiliary_(\d+)")


def head_names(model: keras.Model) -> tuple[str, ...]:
    """The single heads: "classification", then "distillation_{teacher}_{site}" of a student.

    Teachers come in order, and for each the intermediate site before the last.
    """
    if not _is_student(model):
        return ("classification",)
    found = [match for layer in model.layers if (match := _HEAD.fullmatch(layer.name))]
    found.sort(key=lambda match: (int(match[1]), SITES.index(match[2])))
    return ("classification", *(match[0] for match in found))


def auxiliary_names(model: keras.Model) -> tuple[str, ...]:
    """The classifiers "auxiliary_{stage}" that only training has, the shallowest first.

    They are not heads: what `prediction_model` and `heads_model` return does not have them.
    """
    found = [match for layer in model.layers if (match := _AUXILIARY.fullmatch(layer.name))]
    return tuple(match[0] for match in sorted(found, key=lambda match: int(match[1])))


def without_auxiliaries(model: keras.Model) -> keras.Model:
    """The model as it is kept after training; itself if it has no auxiliary classifiers."""
    if not auxiliary_names(model):
        return model
    return keras.Model(model.input, _own_output(model), name=model.name)


def training_model(model: keras.Model, *, with_teachers: bool = True) -> keras.Model:
    """A model whose output is a dictionary with what a training step needs.

    Args:
      model: a student or a plain model.
      with_teachers: False if labels alone are learned: then what the model itself returns is
        called "classification", and there is nothing else, so that all heads of a distilled DeiT
        learn (as timm trains one without a teacher).

    Keys: every name of `head_names(model)`, float32 logits (B, num_classes); and for each token
    set that has a head "tokens_{teacher}_{site}", a dictionary with "spatial" (B, N) and "channel"
    (B, P), or the one it has; and every name of `auxiliary_names(model)`, logits (B, num_classes).
    A plain model has "classification" only.
    """
    if not with_teachers:
        return keras.Model(
            model.input, {"classification": model.output}, name=f"{model.name}_training"
        )
    outputs = _head_outputs(model)
    outputs |= {name: model.get_layer(name).output for name in auxiliary_names(model)}
    for head in head_names(model)[1:]:
        name = head.replace("distillation", "tokens")
        if any(layer.name == name for layer in model.layers):
            outputs[name] = _tokens(model.get_layer(name))
    return keras.Model(model.input, outputs, name=f"{model.name}_training")


def prediction_model(model: keras.Model, *, head: str) -> keras.Model:
    """A model with one output, logits (B, num_classes), and nothing that it does not need.

    Args:
      model: a student or a plain model.
      head: a single head by name, or a combination: "average" of class head and distillation
        heads, "confidence" (the same with distillation heads weighed by their sureness),
        "distillation" (the mean of the distillation heads). A plain model has "classification".

    Raises:
      InputError: the model does not have this head.
    """
    available = _all_heads(model)
    if head not in available:
        raise InputError(
            f"head={head}: model {model.name} does not have it; use {', '.join(available)}"
        )
    return keras.Model(model.input, _predictions(model, (head,))[head], name=model.name)


def heads_model(model: keras.Model) -> keras.Model:
    """A model whose output is a dictionary of logits: all that `prediction_model` can give."""
    outputs = _predictions(model, _all_heads(model))
    return keras.Model(model.input, outputs, name=f"{model.name}_heads")


def trainable_parameters(model: keras.Model) -> int:
    """Number of trainable parameters; BatchNorm statistics and seeds do not count."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def _is_student(model: keras.Model) -> bool:
    return any(
        isinstance(layer, CombineHeads) and layer.name == "average" for layer in model.layers
    )


def _all_heads(model: keras.Model) -> tuple[str, ...]:
    return head_names(model) + (COMBINATIONS if _is_student(model) else ())


def _head_outputs(model: keras.Model) -> dict[str, Any]:
    if not _is_student(model):
        # Whatever the layer is called: any Keras model can be a baseline or a teacher.
        return {"classification": _own_output(model)}
    return {name: model.get_layer(name).output for name in head_names(model)}


def _own_output(model: keras.Model) -> Any:
    """What the model returns, without what only trains along."""
    along = [layer for layer in model.layers if isinstance(layer, TrainAlong)]
    return along[-1].input[0] if along else model.output


def _predictions(model: keras.Model, wanted: tuple[str, ...]) -> dict[str, Any]:
    heads = _head_outputs(model)
    distillation = [logits for name, logits in heads.items() if name != "classification"]
    predictions = {}
    for name in wanted:
        if name in heads:
            predictions[name] = heads[name]
        elif name == "average":
            predictions[name] = model.get_layer("average").output
        else:
            first = [] if name == "distillation" else [heads["classification"]]
            dtype = distillation[0].dtype
            predictions[name] = CombineHeads(name, dtype=dtype, name=name)([*first, *distillation])
    return predictions


def _tokens(token_set: Any) -> dict[str, Any]:
    """Symbolic outputs of a token set by kind; Keras keeps them as a list sorted by key."""
    outputs = token_set.output
    outputs = outputs if isinstance(outputs, list) else [outputs]
    return dict(zip(sorted(token_set.token_names), outputs, strict=True))
