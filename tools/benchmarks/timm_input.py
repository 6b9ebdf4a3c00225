"""The presets in timm, torchvision and PIL, as DeiT's code and the CIFAR Mixer's use them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from std_keras.config.augmentation_presets import SMALL_IMAGE
from std_keras.errors import InputError

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def batches(
    preset: str, pixels: np.ndarray, paths: list[str] | None, *, batch_size: int, num_classes: int
) -> Iterator[tuple[Any, Any]]:
    """Normalised images (B, 3, H, W) and targets (B, K), without end, on one thread."""
    torch = _import_torch()
    from PIL import Image
    from timm.data.mixup import Mixup, mixup_target

    torch.set_num_threads(1)
    transform = _transform(preset, pixels.shape[1])
    mixup = None
    if preset == "deit":
        mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, num_classes=num_classes)
    elif preset == "mixer_cifar":
        mixup = Mixup(mixup_alpha=0.0, cutmix_alpha=1.0, prob=0.5, num_classes=num_classes)
    rng = np.random.default_rng(0)
    while True:
        chosen = rng.integers(len(pixels), size=batch_size)
        images = []
        for i in chosen:
            if paths is None:
                image = Image.fromarray(pixels[i])
            else:
                with open(paths[i], "rb") as file:
                    image = Image.open(file).convert("RGB")
            images.append(transform(image))
        batch, labels = torch.stack(images), torch.from_numpy(chosen % num_classes)
        if mixup is None:
            yield batch, mixup_target(labels, num_classes, smoothing=0.0)
        else:
            yield mixup(batch, labels)


def _transform(preset: str, size: int) -> Any:
    from timm.data import create_transform
    from torchvision import transforms

    padded = transforms.RandomCrop(size, padding=max(1, size // 8))
    finish = [transforms.ToTensor(), transforms.Normalize(_IMAGENET_MEAN, _IMAGENET_STD)]
    if preset == "deit":
        _let_posterize_keep_one_bit()
        recipe = create_transform(
            input_size=size,
            is_training=True,
            color_jitter=0.3,
            auto_augment="rand-m9-mstd0.5-inc1",
            interpolation="bicubic",
            re_prob=0.25,
            re_mode="pixel",
            re_count=1,
        )
        if size <= SMALL_IMAGE:
            recipe.transforms[0] = padded
        return recipe
    parts: dict[str, list[Any]] = {
        "none": [],
        "crop_flip": [padded, transforms.RandomHorizontalFlip()],
        "mixer_cifar": [padded, padded, transforms.AutoAugment(_cifar10_policy(), fill=[128] * 3)],
    }
    return transforms.Compose([*parts[preset], *finish])


def _let_posterize_keep_one_bit() -> None:
    """timm asks for 0 bits at the greatest magnitude, which PIL refuses from version 13 on."""
    from timm.data import auto_augment

    auto_augment.NAME_TO_OP["PosterizeIncreasing"] = lambda image, bits, **_: (
        auto_augment.posterize(image, max(1, bits))
    )


def _cifar10_policy() -> Any:
    from torchvision.transforms import AutoAugmentPolicy

    return AutoAugmentPolicy.CIFAR10


def _import_torch() -> Any:
    """torch, once torchvision can be imported.

    torchvision fails to import ("operator torchvision::nms does not exist") where its compiled part
    was built for another torch; nothing here uses those operators, so they are only declared.
    """
    try:
        import torch

        try:
            importlib.import_module("torchvision")
        except RuntimeError:
            for name in [n for n in sys.modules if n.split(".")[0] in ("torchvision", "timm")]:
                del sys.modules[name]
            library = torch.library.Library("torchvision", "FRAGMENT")
            for operator in ("nms", "qnms"):
                library.define(f"{operator}{_SCHEMA}")
            _libraries.append(library)
        importlib.import_module("timm.data")
        return torch
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"--against=timm: {error}; install requirements-dev.txt, or use --against=none"
        ) from error


# A declaration lasts as long as its library object.
_libraries: list[Any] = []
