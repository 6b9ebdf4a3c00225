"""How long to train, and how each step changes the weights."""

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
    """How long to train, and how each step changes the weights; `--help` explains each field."""

    topic: ClassVar[str] = OPTIMIZATION

    epochs: int = option_field(300, int, "Passes over the train split.", **COUNT)
    batch_size: int = option_field(128, int, "Global batch size, over all devices.", **COUNT)
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
        "Reference batch size of --learning_rate and --minimum_learning_rate: both are multiplied "
        "by --batch_size divided by this (the linear scaling rule; MINE's rates are not scaled). 0 "
        "turns scaling off.",
        **NATURAL,
    )
    minimum_learning_rate: float = option_field(
        1e-5, float, "Learning rate at the end of the cosine schedule.", **NATURAL
    )
    warmup_epochs: float | None = option_field(
        None,
        float,
        "Epochs of linear warm-up; 5, or a fifth of --epochs if less, if not given.",
        **NATURAL,
    )
    weight_decay: float | None = option_field(
        None,
        float,
        "Weight decay, 0.05 if not given, for sgd 5e-4; not applied to biases, normalisation and "
        "tokens.",
        **NATURAL,
    )
    class_weights: str = option_field(
        "none",
        str,
        "balanced: weigh the loss of each example, of labels and of teachers, by the inverse size "
        "of its class (1 on average), so that all classes count alike.",
        choices=("none", "balanced"),
    )
    momentum: float = option_field(0.9, float, "Momentum of sgd.", **FRACTION)
    clip_norm: float = option_field(
        0.0,
        float,
        "Largest global norm of the gradient; 0 for no clipping.",
        **NATURAL,
    )
    accumulation_steps: int = option_field(
        1, int, "Gradient accumulation: split each batch into this many parts.", **COUNT
    )
    ema_decay: float = option_field(
        0.0,
        float,
        "Decay of the exponential moving average of the weights; 0 for none. It warms up as "
        "t / (t + 9) after t steps, so in fewer than 9 / (1 - decay) steps the average is of about "
        "the last tenth of the run, however long that is.",
        **FRACTION,
    )
    initialize_from: str | None = option_field(
        None,
        str,
        "Fine-tune: start from the weights of this finished run, of std_keras:NAME (packed "
        "weights) or of hf-hub:ORG/NAME (timm), adapted to other image and patch sizes. Its input "
        "normalisation is used too, and its model options where they are not given; heads are new "
        "if the classes differ.",
    )
    seed: int = option_field(0, int, "Seed of initialisation and dropout.", **NATURAL)

    def applied_learning_rates(self) -> tuple[float, float]:
        """The peak and final learning rate, scaled to the batch size if that is configured.

        The linear scaling rule: Goyal et al. 2017, "Accurate, Large Minibatch SGD: Training
        ImageNet in 1 Hour", arXiv 1706.02677, section 2.1.
        """
        reference = self.learning_rate_batch_size
        factor = self.batch_size / reference if reference else 1.0
        return self.learning_rate * factor, self.minimum_learning_rate * factor
