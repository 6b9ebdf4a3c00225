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
        "Distillation target: the teachers' predicted classes (hard), their probabilities (soft), "
        "or none. auto: soft if there is a --teacher, else none.",
        choices=("none", "soft", "hard", "auto"),
        flag="distillation",
    )
    teachers: tuple[str, ...] = option_field(
        (),
        str,
        "SOURCE[,site=last|intermediate|both][,input=byte|unit|signed|imagenet]"
        "[,output=logits|probabilities][,size=N][,layout=nhwc|nchw][,labels=own|FILE]; may be "
        "repeated. SOURCE is a run directory, a .keras, .onnx or .tflite file, a SavedModel, "
        "keras:NAME, keras_hub:PRESET, keras_cv:PRESET, hf://ORG/NAME, hf-hub:ORG/NAME (timm), or "
        "std_keras:NAME. A teacher with a larger input than the student's sees the same crop of "
        "the pictures at its own size.",
        repeated=True,
        flag="teacher",
    )
    objective: str = option_field(
        "standard",
        str,
        "standard: the class head learns the labels, and each teacher has a head of its own. "
        "class_head: the class head follows the teachers too (Hinton et al. 2015). skeptical: the "
        "teachers train an auxiliary classifier of a CIFAR ResNet, which is dropped after training "
        "(Kundu et al. 2021). nasty: trains an accurate teacher that moves away from --teacher, so "
        "that it is hard to distil (Ma et al. 2021).",
        choices=("standard", "class_head", "skeptical", "nasty"),
    )
    nasty_weight: float = option_field(
        0.04,
        float,
        "--objective=nasty: weight of the divergence from --teacher; the paper uses 0.04 for "
        "CIFAR-10 and 0.005 for CIFAR-100.",
        **POSITIVE,
    )
    nasty_temperature: float = option_field(
        4.0,
        float,
        "--objective=nasty: softmax temperature of both models; the paper uses 4 for CIFAR-10 and "
        "20 for CIFAR-100.",
        **POSITIVE,
    )
    skeptical_stage: int = option_field(
        1,
        int,
        "--objective=skeptical: the stage, counted from 1, after which the auxiliary classifier "
        "is attached.",
        check=lambda v: v in (1, 2),
        wanted="1 or 2, the stages before the last",
    )
    tokens: str = option_field(
        "both",
        str,
        "Distillation tokens of each teacher: both, one of them, none (a second head on the "
        "pooled features), or deit (one token beside the patches through all blocks).",
        choices=("both", "spatial", "channel", "none", "deit"),
    )
    token_mlps: int = option_field(
        1,
        int,
        "MLP pairs stacked in a token set (2 in the paper's figure).",
        check=lambda v: v in (1, 2),
        wanted="1 or 2",
    )
    propagate_tokens: bool = option_field(
        False,
        bool,
        "With site=both: feed the output tokens of the intermediate set into the last one.",
    )
    alpha: float = option_field(
        0.5,
        float,
        "Weight of the distillation loss; the loss of the labels gets 1 - alpha.",
        **PART,
    )
    temperature: float = option_field(
        1.0,
        float,
        "Softmax temperature of both sides in soft distillation.",
        **POSITIVE,
    )
    confidence: str = option_field(
        "negative_entropy",
        str,
        "How several teachers are weighted: by the confidence of their predictions, or equally.",
        choices=("negative_entropy", "entropy", "uniform"),
    )
    confidence_scope: str = option_field(
        "example",
        str,
        "Whether a teacher is weighted per example or per batch.",
        choices=("example", "batch"),
    )
    teacher_cache: str | None = option_field(
        None,
        str,
        "Folder that stores the teacher predictions of every augmented image, for all runs with "
        "the same data, augmentation, --data_seed, --batch_size and teachers.",
        shapes_result=False,
    )
    teacher_check: int = option_field(
        256,
        int,
        "Held-out and training images, each, on which every teacher is checked when a run starts; "
        "0 for no check.",
        shapes_result=False,
        **NATURAL,
    )
    teacher_cache_mode: str = option_field(
        "fill",
        str,
        "fill computes and stores missing predictions; read requires a complete cache.",
        choices=("fill", "read"),
        shapes_result=False,
    )
    teacher_cache_top_k: int = option_field(
        0,
        int,
        "Soft distillation: store only this many of the largest logits and spread the remaining "
        "probability evenly over the other classes; 0 for all logits.",
        **NATURAL,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "auto":
            object.__setattr__(self, "kind", "soft" if self.teachers else "none")

    @property
    def uses_teachers(self) -> bool:
        """Whether the named teachers are loaded and run."""
        return self.kind != "none" or self.objective == "nasty"

    @property
    def has_student_heads(self) -> bool:
        """Whether the model is a student with a head for every teacher."""
        return self.kind != "none" and self.objective == "standard"

    @property
    def needs_teacher_logits(self) -> bool:
        """Whether the loss needs the teachers' logits, not their top-1 classes alone."""
        return self.kind == "soft" or self.objective == "nasty"
