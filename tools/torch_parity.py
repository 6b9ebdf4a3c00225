"""How far a model is from an independent PyTorch implementation with the same random weights.

The model has its published size: timm's own definition of that name where timm has it, else the
networks in plain PyTorch that the tests compare with. The weights go through the converter, as
those of a downloaded file would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from std_keras import models
from std_keras.weights import load_weights
from std_keras.weights.layouts import choose_layout

_IMAGES = 2
_TIMM = {
    **{f"mixer_{size}": f"mixer_{size}_224" for size in ("s32", "s16", "b32", "b16", "l32", "l16")},
    **{f"resmlp_s{depth}": f"resmlp_{depth}_224" for depth in (12, 24, 36)},
    "resmlp_b24_8": "resmlp_big_24_224",
    **{f"gmlp_{size}": f"gmlp_{size}_224" for size in ("ti16", "s16", "b16")},
    "deit_ti16": "deit_tiny_patch16_224",
    "deit_ti16_distilled": "deit_tiny_distilled_patch16_224",
    "deit_s16": "deit_small_patch16_224",
    "deit_s16_distilled": "deit_small_distilled_patch16_224",
    "deit_b16": "deit_base_patch16_224",
    "deit_b16_distilled": "deit_base_distilled_patch16_224",
    "swin_t": "swin_tiny_patch4_window7_224",
    "swin_s": "swin_small_patch4_window7_224",
    "swin_b": "swin_base_patch4_window7_224",
    "regnety_4gf": "regnety_040",
    "regnety_8gf": "regnety_080",
    "regnety_16gf": "regnety_160",
}
_HEADS = ("head", "head_dist", "fc", "7")


class UnavailableError(Exception):
    """There is nothing to compare with; the message says why."""


@dataclass(frozen=True)
class Parity:
    """The largest absolute difference of logits that have a standard deviation of 1."""

    error: float
    reference: str


def compare(name: str, *, input_shape: Sequence[int], num_classes: int) -> Parity:
    """Compares both on random images.

    The PyTorch module's heads are scaled so that its logits have a standard deviation of 1; so the
    error means the same for all models.

    Raises:
        UnavailableError: PyTorch or timm is not installed.
        RuntimeError: a weight found no counterpart, or the comparison would show nothing.
    """
    torch, torch_models, timm = _import()
    reference, source = _reference(name, torch_models, timm, num_classes=num_classes)
    _randomize(torch, reference)
    pixels = _images(input_shape)
    expected = _standardized_logits(torch, reference, pixels)
    tensors = {key: value.numpy() for key, value in reference.state_dict().items()}
    model = models.create(name, input_shape=input_shape, num_classes=num_classes)
    layout = choose_layout("auto", model=name, tensors=tensors, file=source)
    report = load_weights(model, tensors, layout=layout)
    if not report.complete:
        raise RuntimeError(f"{name}: {dict(report.missing)} missing, {report.unused} unused")
    difference = np.abs(np.asarray(model(pixels, training=False)) - expected)
    return Parity(float(difference.max()), source)


def _import() -> tuple[Any, Any, Any]:
    try:
        import pytest
        import torch

        from tests import oracles
        from tests.weights import torch_models
    except ImportError as error:
        raise UnavailableError(f"{error.name} is not installed") from error
    try:
        return torch, torch_models, oracles.import_timm()
    except pytest.skip.Exception as error:
        raise UnavailableError(str(error)) from error


def _reference(name: str, torch_models: Any, timm: Any, *, num_classes: int) -> tuple[Any, str]:
    if name in _TIMM:
        return timm.create_model(_TIMM[name], num_classes=num_classes), f"timm's {_TIMM[name]}"
    if name == "mixer_h14":
        module = timm.mlp_mixer.MlpMixer(
            num_classes, img_size=224, patch_size=14, num_blocks=32, embed_dim=1280
        )
        return module, "timm's MlpMixer with the paper's sizes"
    if name == "resmlp_b24":
        module = timm.mlp_mixer.MlpMixer(
            num_classes,
            img_size=224,
            patch_size=16,
            num_blocks=24,
            embed_dim=768,
            mlp_ratio=4,
            block_layer=timm.mlp_mixer.ResBlock,
            norm_layer=timm.mlp_mixer.Affine,
        )
        return module, "timm's MlpMixer with the paper's sizes"
    options = models.registry.resolve(name)
    if name.startswith("cyclemlp"):
        module = torch_models.CycleNet(options.depths, options.widths, 4, num_classes)
        for stage, (width, ratio) in enumerate(
            zip(options.widths, options.mlp_ratios, strict=True)
        ):
            for block in module.network[2 * stage]:
                block.mlp = torch_models.TwoLinear(width, ratio * width, width)
        return module, "the authors' network, written anew in plain PyTorch"
    if name.startswith("cifar_resnet"):
        module = torch_models.CifarResNet(options.depth, num_classes, "chenyaofo")
        return module, "chenyaofo's network, written anew in plain PyTorch"
    if name in ("resnet8x4", "resnet32x4"):
        module = torch_models.CifarResNet(options.depth, num_classes, "chenyaofo", options.widths)
        return module, "RepDistiller's network, written anew in plain PyTorch"
    if name.startswith("wrn"):
        module = torch_models.WideResNet(options.depth, options.widening, num_classes)
        return module, "RepDistiller's network, written anew in plain PyTorch"
    if name.startswith("airbench"):
        third = options.convolutions == 3
        module = torch_models.airbench(options.widths, num_classes, third=third)
        return module, "the authors' network, written anew in plain PyTorch"
    raise UnavailableError("no PyTorch implementation is known")


def _randomize(torch: Any, module: Any) -> None:
    """Random values under which no part is dead, saturated or too small to matter."""
    generator = torch.Generator().manual_seed(19)
    with torch.no_grad():
        statistics = [(key, value) for key, value in module.named_buffers() if ".running_" in key]
        for key, value in [*module.named_parameters(), *statistics]:
            kind, noise = key.rsplit(".", 1)[-1], torch.randn(value.shape, generator=generator)
            if kind == "running_var":
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            elif kind in ("bias", "beta", "running_mean"):
                value.copy_(0.1 * noise)
            elif kind in ("ls1", "ls2"):
                value.copy_(0.3 + 0.1 * noise)
            elif value.ndim == 1 or kind == "alpha":
                value.copy_(1 + 0.3 * noise)
            elif value.ndim == 3 or kind == "relative_position_bias_table":
                value.copy_(0.3 * noise)
            else:
                value.copy_(noise / value[0].numel() ** 0.5)
    module.eval()


def _images(shape: Sequence[int]) -> np.ndarray:
    """Coarse squares in random colours under noise; noise alone looks the same once averaged."""
    rng = np.random.default_rng(17)
    height, width, channels = shape
    coarse = rng.integers(0, 192, (_IMAGES, 4, 4, channels))
    coarse = coarse.repeat(height // 4, 1).repeat(width // 4, 2)
    return (coarse + rng.integers(0, 64, coarse.shape)).astype(np.uint8)


def _standardized_logits(torch: Any, reference: Any, pixels: np.ndarray) -> np.ndarray:
    """The logits of the reference, after its heads were scaled."""
    normalized = (pixels / np.float32(127.5) - np.float32(1.0)).transpose(0, 3, 1, 2)
    inputs = torch.tensor(np.ascontiguousarray(normalized))
    with torch.no_grad():
        logits = reference(inputs)
        spread = float(logits.std())
        between = float((logits[0] - logits[1]).std())
        if not between > 0.02 * spread:  # NaN included.
            raise RuntimeError(f"images give logits that differ by {between} of {spread}")
        for key, value in reference.named_parameters():
            if key.split(".")[0] in _HEADS:
                value /= spread
        return reference(inputs).numpy()
