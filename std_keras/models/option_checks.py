"""Checks of option values that several families share; messages name the flag."""

from __future__ import annotations

from collections.abc import Sequence

from std_keras.errors import InputError
from std_keras.layers.mlp import GELU_KINDS


def check_at_least(name: str, value: float, least: float) -> None:
    """Raises InputError if `value` is below `least`."""
    if not value >= least:
        raise InputError(f"{name}={value}: must be at least {least}")


def check_rate(name: str, value: float) -> None:
    """Raises InputError unless 0 <= value < 1."""
    if not 0.0 <= value < 1.0:
        raise InputError(f"{name}={value}: must be at least 0 and below 1")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises InputError unless `value` is one of `choices`."""
    if value not in choices:
        raise InputError(f"{name}={value}: must be one of {', '.join(choices)}")


def check_gelu(value: str) -> None:
    """Raises InputError unless `value` is a known form of the GELU."""
    check_choice("gelu", value, GELU_KINDS)


def check_attention_heads(width: int, head_dim: int) -> None:
    """Raises InputError unless the width is that of whole attention heads."""
    if width % head_dim:
        raise InputError(
            f"width={width}: must be a multiple of {head_dim}, the channels of an attention head"
        )


def check_layer_norm_epsilon(value: float) -> None:
    """Raises InputError unless `value` is positive."""
    if not value > 0.0:
        raise InputError(f"layer_norm_epsilon={value}: must be positive")


def check_patch_size(patch_size: int, image_size: tuple[int, int]) -> None:
    """Raises InputError unless the patch divides height and width."""
    height, width = image_size
    if height % patch_size == 0 and width % patch_size == 0:
        return
    size = str(height) if height == width else f"{height}x{width}"
    fitting = [n for n in range(1, min(height, width) + 1) if height % n == 0 and width % n == 0]
    alternatives = ", ".join(map(str, fitting[:-1]))
    alternatives = f"{alternatives} or {fitting[-1]}" if alternatives else str(fitting[-1])
    raise InputError(
        f"patch_size={patch_size}: image size {size} is not divisible by it; use {alternatives}"
    )
