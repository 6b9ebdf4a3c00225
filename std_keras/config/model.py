"""Which network, and how it differs from the published one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from std_keras.config.option import (
    COUNT,
    FRACTION,
    MODEL,
    POSITIVE,
    OptionGroup,
    option_field,
)

DEFAULT_MODEL = "mixer_s16"


@dataclass(frozen=True, kw_only=True)
class ModelOptions(OptionGroup):
    """Which network, and how it differs from the published one; `--help` explains each field."""

    topic: ClassVar[str] = MODEL

    given_name: str | None = option_field(
        None,
        str,
        "Name of the model; that of --initialize_from, or else mixer_s16, if not given.",
        flag="model",
    )
    patch_size: int | None = option_field(
        None, int, "Patch size in pixels; the model's default if not given.", **COUNT
    )
    width: int | None = option_field(
        None, int, "Number of channels; the model's default if not given.", **COUNT
    )
    depth: int | None = option_field(
        None, int, "Number of blocks; the model's default if not given.", **COUNT
    )
    token_mlp_dim: int | None = option_field(
        None, int, "Hidden width of token mixing (Mixer); width/2 if not given.", **COUNT
    )
    channel_mlp_dim: int | None = option_field(
        None,
        int,
        "Hidden width of channel mixing; 4 x width if not given (gMLP: 6 x).",
        **COUNT,
    )
    stochastic_depth: float = option_field(
        0.0,
        float,
        "Drop rate of the last block, with a linear ramp over the blocks before it (ResMLP: drop "
        "rate of all blocks).",
        **FRACTION,
    )
    gelu: str | None = option_field(
        None,
        str,
        "GELU, exact (erf) or by its tanh approximation; the model's default if not given.",
        choices=("exact", "tanh"),
    )
    layer_norm_epsilon: float | None = option_field(
        None,
        float,
        "Epsilon of layer normalisation; the model's default if not given.",
        **POSITIVE,
    )
    window_size: int | None = option_field(
        None,
        int,
        "Size of Swin's attention windows in patches; 7 if not given, which divides the feature "
        "maps of 224-pixel images.",
        **COUNT,
    )
    shortcut: str | None = option_field(
        None,
        str,
        "Shortcut of CIFAR ResNets where the shape changes; the model's default if not given.",
        choices=("projection", "identity"),
    )

    @property
    def name(self) -> str:
        """Name of the model, as `std_keras.models.create` takes it."""
        return self.given_name or DEFAULT_MODEL

    def architecture(self) -> dict[str, Any]:
        """The options that were set, as `std_keras.models.create` takes them."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del values["given_name"]
        return {
            name: value
            for name, value in values.items()
            if value is not None and (name != "stochastic_depth" or value)
        }
