"""Skeptical students (Kundu et al. 2021): ResNets with auxiliary classifiers for training.

The teacher speaks to a classifier in the middle of the network; the class head at the end sees
labels, and what the auxiliary classifiers make of the teacher. Layout after ksouvik52's
Skeptical2021 (`resnet_self.py`), whose networks have four stages; those here have three.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras

from std_keras.config.distillation import DistillationOptions
from std_keras.errors import InputError
from std_keras.layers import FusedBatchNorm, TrainAlong
from std_keras.layers.fan_in_uniform import fan_in_uniform
from std_keras.models import registry
from std_keras.models.cifar_resnet import CifarResNetOptions

_BLOCK = re.compile(r"stage_(\d+)_block_(\d+)")


def create_skeptical(
    name: str,
    *,
    input_shape: Sequence[int],
    num_classes: int,
    stage: int = 1,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    **options: Any,
) -> keras.Model:
    """Creates a CIFAR ResNet with the auxiliary classifiers of a skeptical student.

    There is one after stage `stage`, which the teachers reach, and one after the last stage but
    one, which the class head imitates; the published figure has the first two stages before the
    end, which is 1 of the three here. With `stage` 2 they are the same.

    Args:
      name: a CIFAR ResNet of `names()`.
      input_shape: (height, width, channels) of the images, whose values are 0..255.
      num_classes: size of all classifiers.
      stage: 1 or 2, counted from 1.
      mean: of pixels scaled to 0..1; one number, or one per channel; 0.5 by default.
      std: standard deviation, in the same form.
      **options: of the backbone, as in `create`.

    Returns:
      A functional model: images (B, H, W, C) to float32 logits (B, num_classes) of the class head.
      `training_model` gives the classifiers "auxiliary_{s}" too, s counted from 0 as in the names
      of blocks; `without_auxiliaries` leaves them out.

    Raises:
      InputError: unknown name or option, a model of another family, or no such stage.
    """
    if not isinstance(registry.resolve(name, **options), CifarResNetOptions):
        raise InputError(
            f"objective=skeptical needs a CIFAR ResNet, not model={name}; use one such as "
            "cifar_resnet20"
        )
    if stage not in (1, 2):
        raise InputError(f"skeptical_stage={stage} must be 1 or 2, the stages before the last")
    backbone = registry.create(
        name, input_shape=input_shape, num_classes=num_classes, mean=mean, std=std, **options
    )
    ends = _ends_of_stages(backbone)
    auxiliaries = [
        _classifier(ends[index], ends[-1].shape[-1], num_classes, index)
        for index in sorted({stage - 1, len(ends) - 2})
    ]
    logits = TrainAlong(name="train_along")([backbone.output, *auxiliaries])
    return keras.Model(backbone.input, logits, name=backbone.name)


def create_as_named(name: str, *, options: DistillationOptions, **common: Any) -> keras.Model:
    """`create_skeptical` with the stage that the options of a run name."""
    return create_skeptical(name, stage=options.skeptical_stage, **common)


def _ends_of_stages(backbone: keras.Model) -> list[Any]:
    """Features (B, H, W, C) after the last block of every stage."""
    last: dict[int, Any] = {}
    for layer in backbone.layers:  # Blocks come in their order.
        match = _BLOCK.fullmatch(layer.name)
        if match:
            last[int(match[1])] = layer.output
    return [last[index] for index in sorted(last)]


def _classifier(features: Any, channels: int, num_classes: int, index: int) -> Any:
    """Attention, then separable convolutions to the size of the last stage, then a classifier."""
    name = f"auxiliary_{index}"
    height, width = features.shape[1:3]
    gate = _separable(features, features.shape[-1], f"{name}_attention")
    gate = keras.layers.ReLU(name=f"{name}_attention_relu")(
        FusedBatchNorm(name=f"{name}_attention_norm")(gate)
    )
    gate = keras.layers.UpSampling2D(
        2, interpolation="bilinear", name=f"{name}_attention_upsampling"
    )(gate)
    if height % 2 or width % 2:
        gate = keras.layers.Cropping2D(
            ((0, height % 2), (0, width % 2)), name=f"{name}_attention_cropping"
        )(gate)
    gate = keras.layers.Activation("sigmoid", name=f"{name}_attention_gate")(gate)
    x = keras.layers.Multiply(name=f"{name}_attended")([features, gate])
    part = 0
    while x.shape[-1] < channels:
        x = _separable(x, 2 * x.shape[-1], f"{name}_part_{part}")
        part += 1
    x = keras.layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
    return keras.layers.Dense(
        num_classes,
        kernel_initializer=fan_in_uniform(),
        dtype="float32",
        name=name,
    )(x)


def _separable(x: Any, channels: int, name: str) -> Any:
    """Two depthwise-separable 3x3 convolutions; the first halves the resolution."""
    for number, (width, stride) in enumerate(((x.shape[-1], 2), (channels, 1))):
        x = keras.layers.ZeroPadding2D(1, name=f"{name}_padding_{number}")(x)
        x = keras.layers.DepthwiseConv2D(
            3,
            strides=stride,
            use_bias=False,
            depthwise_initializer=keras.initializers.VarianceScaling(
                2.0, "fan_out", "untruncated_normal"
            ),
            name=f"{name}_depthwise_{number}",
        )(x)
        x = keras.layers.Conv2D(
            width,
            1,
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(
                2.0, "fan_out", "untruncated_normal"
            ),
            name=f"{name}_pointwise_{number}",
        )(x)
        x = keras.layers.ReLU(name=f"{name}_relu_{number}")(
            FusedBatchNorm(name=f"{name}_norm_{number}")(x)
        )
    return x
