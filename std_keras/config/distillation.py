"""Which teachers are followed, how, and by which heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from std_keras.config.option import (
    DISTILLATION,
    NATURAL,
    PART,
    POSITIVE,
    OptionGroup,
    option_field,
)


@dataclass(frozen=True, kw_only=True)
class DistillationOptions(OptionGroup):
    """Which teachers are followed, how, and by which heads; `--help` explains each field."""

    topic: ClassVar[str] = DISTILLATION

    kind: str = option_field(
        "none",
        str,
        "Whether teachers are followed, by their class (hard) or their probabilities (soft).",
        choices=("none", "soft", "hard"),
        flag="distillation",
    )
    teachers: tuple[str, ...] = option_field(
        (),
        str,
        "SOURCE[,site=last|intermediate|both][,input=byte|unit|signed|imagenet]"
        "[,output=logits|probabilities][,size=N]; repeatable. SOURCE is a run directory, a .keras "
        "file, a SavedModel, keras:NAME or std_keras:NAME (packed weights).",
        repeated=True,
        flag="teacher",
    )
    objective: str = option_field(
        "standard",
        str,
        "standard: labels, and teachers by heads of their own. class_head: the class head itself "
        "follows the teachers (Hinton et al. 2015). skeptical: teachers reach an auxiliary "
        "classifier of a CIFAR ResNet, which is not kept (Kundu et al. 2021). nasty: a teacher "
        "that stays accurate and moves away from --teacher, so that it is hard to imitate (Ma et "
        "al. 2021).",
        choices=("standard", "class_head", "skeptical", "nasty"),
    )
    nasty_weight: float = option_field(
        0.04,
        float,
        "--objective=nasty: weight of the divergence from --teacher; published are 0.04 for "
        "CIFAR-10 and 0.005 for CIFAR-100.",
        **POSITIVE,
    )
    nasty_temperature: float = option_field(
        4.0,
        float,
        "--objective=nasty: softening of both sides; published are 4 for CIFAR-10 and 20 for "
        "CIFAR-100.",
        **POSITIVE,
    )
    skeptical_stage: int = option_field(
        1,
        int,
        "--objective=skeptical: the stage, counted from 1, after which the auxiliary classifier "
        "sits that the teachers reach.",
        check=lambda v: v in (1, 2),
        wanted="1 or 2, the stages before the last",
    )
    tokens: str = option_field(
        "both",
        str,
        "Which tokens a teacher gets: both, one of them, none (a second head on the pooled "
        "features), or deit (one token beside the patches through all blocks).",
        choices=("both", "spatial", "channel", "none", "deit"),
    )
    token_mlps: int = option_field(
        1,
        int,
        "MLP pairs stacked in a token set (the paper's figure draws 2).",
        check=lambda v: v in (1, 2),
        wanted="1 or 2",
    )
    propagate_tokens: bool = option_field(
        False,
        bool,
        "With site=both: the tokens that leave the intermediate set enter the last one.",
    )
    alpha: float = option_field(
        0.5,
        float,
        "Weight of the teachers; the labels get 1 - alpha.",
        **PART,
    )
    temperature: float = option_field(
        1.0, float, "Softening of both sides in soft distillation.", **POSITIVE
    )
    confidence: str = option_field(
        "negative_entropy",
        str,
        "What weighs the teachers against each other.",
        choices=("negative_entropy", "entropy", "uniform"),
    )
    confidence_scope: str = option_field(
        "example",
        str,
        "Weights per example, or one weight per batch.",
        choices=("example", "batch"),
    )
    teacher_cache: str | None = option_field(
        None,
        str,
        "Folder where what the teachers say about every augmented image is stored and read again, "
        "by all runs with the same data, augmentation, --data_seed, --batch_size and teachers.",
        shapes_result=False,
    )
    teacher_cache_mode: str = option_field(
        "fill",
        str,
        "fill computes and stores what is missing; read refuses to begin unless all is there.",
        choices=("fill", "read"),
        shapes_result=False,
    )
    teacher_cache_top_k: int = option_field(
        0,
        int,
        "Soft distillation: keep this many of the largest logits; the remaining probability is "
        "shared out evenly over the other classes. 0 for all logits.",
        **NATURAL,
    )

    @property
    def uses_teachers(self) -> bool:
        """Whether the teachers named are loaded and predict."""
        return self.kind != "none" or self.objective == "nasty"

    @property
    def has_student_heads(self) -> bool:
        """Whether the model is a student that has a head for every teacher."""
        return self.kind != "none" and self.objective == "standard"

    @property
    def needs_teacher_logits(self) -> bool:
        """Whether the loss needs the teachers' logits, not their top-1 classes alone."""
        return self.kind == "soft" or self.objective == "nasty"
