"""Students: a backbone with distillation tokens and heads (Li et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from std_keras.errors import InputError
from std_keras.layers import CombineHeads, PrependToken, TokenSet
from std_keras.models import registry
from std_keras.models.class_head import class_head
from std_keras.models.image_model import full_precision
from std_keras.models.sites import sites
from std_keras.models.student_plan import StudentPlan


def create_student(
    name: str,
    *,
    input_shape: Sequence[int],
    num_classes: int,
    teacher_sites: Sequence[str],
    tokens: str = "both",
    token_mlps: int = 1,
    propagate_tokens: bool = False,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    **options: Any,
) -> keras.Model:
    """Creates a registered backbone with what it needs to learn from teachers.

    Args:
      name: one of `names()`.
      input_shape: (height, width, channels) of the images, whose values are 0..255.
      num_classes: size of every head.
      teacher_sites: per teacher "last", "intermediate" or "both".
      tokens: "both", "spatial", "channel", "none" or "deit"; see `attach_tokens`.
      token_mlps: LayerNorm + MLP pairs stacked in a token set.
      propagate_tokens: see `attach_tokens`.
      mean: of pixels scaled to 0..1; one number, or one per channel; 0.5 by default.
      std: standard deviation, in the same form.
      **options: of the backbone, as in `create`. Token sets take over its `gelu` and
        `layer_norm_epsilon`.

    Returns:
      A functional model: images (B, H, W, C) to float32 logits (B, num_classes), the average of
      the heads. `training_model` and `prediction_model` give its other outputs.

    Raises:
      InputError: unknown name or option, or options that do not fit together.
    """
    plan = StudentPlan(tuple(teacher_sites), tokens, token_mlps, propagate_tokens)
    resolved = registry.resolve(name, **options)
    if getattr(resolved, "distillation_token", False):
        raise InputError("`distillation_token`: use tokens=deit instead for students")
    if tokens == "deit":
        if not hasattr(resolved, "distillation_token"):
            raise InputError(
                f"tokens=deit does not apply to {name}: its blocks cannot take an extra token"
            )
        options["distillation_token"] = True
    elif getattr(resolved, "distillation_head", False):
        raise InputError(
            f"tokens={tokens}: {name} learns from its teacher by a distillation token; use "
            f"tokens=deit, or model={name.removesuffix('_distilled')}"
        )
    backbone = registry.create(
        name, input_shape=input_shape, num_classes=num_classes, mean=mean, std=std, **options
    )
    return _attach(
        backbone,
        num_classes,
        plan,
        site_layers=None,
        gelu=getattr(resolved, "gelu", "exact"),
        layer_norm_epsilon=getattr(resolved, "layer_norm_epsilon", 1e-6),
    )


def attach_tokens(
    backbone: keras.Model,
    *,
    num_classes: int,
    teacher_sites: Sequence[str],
    site_layers: Mapping[str, str] | None = None,
    tokens: str = "both",
    token_mlps: int = 1,
    propagate_tokens: bool = False,
    gelu: str = "exact",
    layer_norm_epsilon: float = 1e-6,
) -> keras.Model:
    """Makes a student of any functional Keras model; the two share the backbone's weights.

    Args:
      backbone: one image input, and class logits (B, num_classes), not probabilities, as output.
      num_classes: size of every head.
      teacher_sites: per teacher "last", "intermediate" or "both" (two token sets).
      site_layers: names of the layers whose features, (B, P, N) or (B, H, W, N) of fixed size, the
        token sets of a site read; by default those that `sites(backbone)` finds.
      tokens: "both", "spatial" or "channel": the tokens in a token set, whose head reads what
        there is. "none": no tokens, a head per teacher on the pooled features (the layer "pool",
        else what the class head reads). "deit": a head per teacher on the backbone's distillation
        token after "final_norm".
      token_mlps: LayerNorm + MLP pairs stacked in a token set.
      propagate_tokens: the tokens that leave a teacher's intermediate set enter its last one,
        which alone has a head; all teachers then have site "both".
      gelu: of the token sets, "exact" or "tanh".
      layer_norm_epsilon: of the token sets.

    Returns:
      One flat functional model with the output of its layer "average", float32 logits. Token sets
      are named "tokens_{teacher}_{site}", heads "distillation_{teacher}_{site}".

    Raises:
      InputError: options that do not fit together or do not fit this backbone.
      ValueError: the backbone cannot be used.
    """
    plan = StudentPlan(tuple(teacher_sites), tokens, token_mlps, propagate_tokens)
    return _attach(
        backbone,
        num_classes,
        plan,
        site_layers=site_layers,
        gelu=gelu,
        layer_norm_epsilon=layer_norm_epsilon,
    )


def _attach(
    backbone: keras.Model,
    num_classes: int,
    plan: StudentPlan,
    *,
    site_layers: Mapping[str, str] | None,
    gelu: str,
    layer_norm_epsilon: float,
) -> keras.Model:
    class_logits = _class_logits(backbone, num_classes)
    has_distillation_token = _has_layer(backbone, "distillation_token")
    if has_distillation_token != (plan.tokens == "deit"):
        raise ValueError(
            f"tokens={plan.tokens!r}: the backbone must have a layer called 'distillation_token' "
            "exactly when tokens='deit'"
        )
    if plan.has_token_sets:
        features = _site_features(backbone, plan, site_layers)
        inputs = _token_set_outputs(plan, features, gelu, layer_norm_epsilon)
    else:
        shared = _last_token(backbone) if plan.tokens == "deit" else _pooled(backbone)
        inputs = {(teacher, "last"): shared for teacher in range(len(plan.teacher_sites))}

    heads = [
        class_head(num_classes, name=f"distillation_{teacher}_{site}")(head_input)
        for (teacher, site), head_input in inputs.items()
    ]
    logits = CombineHeads("average", dtype=full_precision(), name="average")([class_logits, *heads])
    return keras.Model(backbone.input, logits, name=f"{backbone.name}_student")


def _token_set_outputs(
    plan: StudentPlan, features: Mapping[str, Any], gelu: str, layer_norm_epsilon: float
) -> dict[tuple[int, str], Any]:
    """What the head of each token set reads: [T_S, T_C], (B, N + P), or the one token there is."""
    outputs = {}
    for teacher in range(len(plan.teacher_sites)):
        tokens: dict[str, Any] | None = None
        for site in plan.sites_of(teacher):
            enter = tokens if plan.propagate_tokens else None
            token_set = TokenSet(
                teacher,
                site,
                tokens=plan.tokens,
                token_mlps=plan.token_mlps,
                own_tokens=enter is None,
                gelu=gelu,
                layer_norm_epsilon=layer_norm_epsilon,
            )
            given = {} if enter is None else {"tokens": enter}
            tokens = dict(token_set(features[site], **given))
            if plan.propagate_tokens and site != "last":
                continue
            parts = [tokens[kind] for kind in token_set.token_names]
            if len(parts) > 1:
                name = f"{token_set.name}_concatenated"
                parts = [keras.layers.Concatenate(name=name)(parts)]
            outputs[teacher, site] = parts[0]
    return outputs


def _site_features(
    backbone: keras.Model, plan: StudentPlan, site_layers: Mapping[str, str] | None
) -> dict[str, Any]:
    """Features (B, P, N) of the sites that the plan uses."""
    layers = sites(backbone) if site_layers is None else site_layers
    features = {}
    for site in plan.used_sites:
        if site not in layers:
            if site_layers is None:
                raise InputError(
                    f"`teacher`: site={site} does not exist in {backbone.name}, which has a "
                    "single block to read; use site=last"
                )
            raise ValueError(f"site_layers={dict(layers)} lacks {site!r}")
        features[site] = _patch_features(backbone, layers[site], site)
    shapes = {site: tuple(feature.shape[1:]) for site, feature in features.items()}
    if plan.propagate_tokens and len(set(shapes.values())) > 1:
        raise InputError(
            f"`propagate_tokens`: the sites have features of different shapes, {shapes}, so tokens "
            "of one do not fit the other"
        )
    return features


def _patch_features(backbone: keras.Model, layer: str, site: str) -> Any:
    if not _has_layer(backbone, layer):
        raise ValueError(f"site {site!r}: model {backbone.name!r} has no layer called {layer!r}")
    features: Any = backbone.get_layer(layer).output
    shape: tuple[Any, ...] = tuple(getattr(features, "shape", ()))
    if len(shape) not in (3, 4) or None in shape[1:]:
        raise ValueError(
            f"site {site!r}: layer {layer!r} gives {shape}, not (B, P, N) or (B, H, W, N) "
            "of fixed size"
        )
    if len(shape) == 4:
        patches = shape[1] * shape[2]
        features = keras.layers.Reshape((patches, shape[3]), name=f"features_{site}")(features)
    # Rows that a transformer put before the patches are not patches.
    tokens = sum(isinstance(layer, PrependToken) for layer in backbone.layers)
    if tokens:
        features = keras.layers.Cropping1D((tokens, 0), name=f"features_{site}")(features)
    return features


def _class_logits(backbone: keras.Model, num_classes: int) -> Any:
    """The backbone's output, from a layer called "classification"."""
    output: Any = getattr(backbone, "output", None)
    if not keras.backend.is_keras_tensor(output):
        raise ValueError(
            f"model {backbone.name!r} must be a functional Keras model with one output"
        )
    if len(output.shape) != 2 or output.shape[1] != num_classes:
        raise ValueError(
            f"model {backbone.name!r} gives {tuple(output.shape)}, not (B, {num_classes})"
        )
    layer = _source(output)
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    if isinstance(layer, keras.layers.Softmax):
        activation = "softmax"
    if activation in ("softmax", "sigmoid"):
        raise ValueError(
            f"model {backbone.name!r} ends with a {activation}, but logits are needed; build it "
            "without (in keras.applications: classifier_activation=None)"
        )
    if layer.name == "classification":
        return output
    return keras.layers.Activation("linear", dtype=full_precision(), name="classification")(output)


def _pooled(backbone: keras.Model) -> Any:
    """Features (B, N) that the class head reads."""
    if _has_layer(backbone, "pool"):
        return backbone.get_layer("pool").output
    pooled = _source(backbone.output).input
    if not keras.backend.is_keras_tensor(pooled) or len(pooled.shape) != 2:
        raise ValueError(
            f"tokens='none': model {backbone.name!r} has no layer called 'pool', and its class "
            "head does not read pooled features (B, N)"
        )
    return pooled


def _last_token(backbone: keras.Model) -> Any:
    """The distillation token, (B, N), which is the last row after the final norm."""
    rows = backbone.get_layer("final_norm").output
    token = keras.layers.Cropping1D((rows.shape[1] - 1, 0), name="distillation_token_row")(rows)
    return keras.layers.Flatten(name="distillation_token_features")(token)


def _has_layer(model: keras.Model, name: str) -> bool:
    return any(layer.name == name for layer in model.layers)


def _source(tensor: Any) -> Any:
    """The layer that made a symbolic tensor."""
    return tensor._keras_history.operation
