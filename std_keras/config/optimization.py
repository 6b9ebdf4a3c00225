"""How long training is, and how each step changes the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from std_keras.config.option import (
    COUNT,
    FRACTION,
    NATURAL,
    OPTIMIZATION,
    POSITIVE,
    OptionGroup,
    option_field,
)


@dataclass(frozen=True, kw_only=True)
class OptimizationOptions(OptionGroup):
    """How long training is, and how each step changes the weights; `--help` explains each field."""

    topic: ClassVar[str] = OPTIMIZATION

    epochs: int = option_field(300, int, "Passes over the train split.", **COUNT)
    batch_size: int = option_field(128, int, "Examples per step over all devices.", **COUNT)
    optimizer: str = option_field(
        "adamw",
        str,
        "adamw (decoupled weight decay), muon (orthogonal updates of hidden matrices, adamw for "
        "all else) or sgd (Nesterov momentum, L2 weight decay).",
        choices=("adamw", "muon", "sgd"),
    )
    muon_learning_rate_ratio: float = option_field(
        1.0,
        float,
        "--optimizer=muon: learning rate of the hidden matrices as a multiple of --learning_rate.",
        **POSITIVE,
    )
    learning_rate: float = option_field(1e-3, float, "Learning rate after the warm-up.", **POSITIVE)
    learning_rate_batch_size: int = option_field(
        0,
        int,
        "The batch size that --learning_rate and --minimum_learning_rate are meant for: with "
        "another --batch_size both are multiplied by --batch_size over this (the linear scaling "
        "rule; not the rates of MINE). 0 takes them as they are.",
        **NATURAL,
    )
    minimum_learning_rate: float = option_field(1e-5, float, "Where the cosine ends.", **NATURAL)
    warmup_epochs: float | None = option_field(
        None,
        float,
        "Linear warm-up, in epochs; 5, or a fifth of --epochs if that is less, if not given.",
        **NATURAL,
    )
    weight_decay: float = option_field(
        0.05,
        float,
        "Weight decay; biases, normalisations and tokens are left out.",
        **NATURAL,
    )
    momentum: float = option_field(0.9, float, "Momentum of sgd.", **FRACTION)
    clip_norm: float = option_field(
        0.0,
        float,
        "Largest global norm of the gradient; 0 for no clipping.",
        **NATURAL,
    )
    accumulation_steps: int = option_field(
        1, int, "Parts into which a batch is cut to save memory.", **COUNT
    )
    ema_decay: float = option_field(
        0.0,
        float,
        "Decay of the moving average of the weights; 0 for none.",
        **FRACTION,
    )
    initialize_from: str | None = option_field(
        None,
        str,
        "Directory of a finished run whose weights training starts from (fine-tuning); its input "
        "normalisation comes along, and heads stay new if the number of classes differs.",
    )
    seed: int = option_field(0, int, "Seed of initialisation and dropout.", **NATURAL)

    def applied_learning_rates(self) -> tuple[float, float]:
        """The peak and the end of the learning rate, scaled to the batch if that is asked for.

        The linear scaling rule: Goyal et al. 2017, "Accurate, Large Minibatch SGD: Training
        ImageNet in 1 Hour", arXiv 1706.02677, section 2.1.
        """
        reference = self.learning_rate_batch_size
        factor = self.batch_size / reference if reference else 1.0
        return self.learning_rate * factor, self.minimum_learning_rate * factor
