"""What one training run is: every option with its default, its meaning and its limits.

This is the single definition from which the flags are made (`std_keras/cli/flags.py`), which
`config.json` records, and which a continued run is compared with.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from std_keras.config import augmentation_presets as presets
from std_keras.config.agreement import check_agreement
from std_keras.config.option import (
    AUGMENTATION,
    COUNT,
    DATA,
    DISTILLATION,
    FRACTION,
    MINE,
    MODEL,
    NATURAL,
    OPTIMIZATION,
    PART,
    PERFORMANCE,
    POSITIVE,
    RUN,
    Option,
    check_value,
    option_field,
)
from std_keras.errors import InputError


@dataclass(frozen=True)
class TrainConfig:
    """One training run of a student, a baseline or a teacher. See `--help` for each field."""

    # Data
    dataset: str = option_field(
        "digits",
        DATA,
        str,
        "digits, the name of a TFDS data set (cifar100, imagenette/160px-v2), or folder:PATH with "
        "one folder per class under train/ and val/.",
    )
    data_dir: str | None = option_field(
        None, DATA, str, "Where TFDS keeps its prepared data sets.", shapes_result=False
    )
    image_size: int | None = option_field(
        None, DATA, int, "Height and width in pixels; the data set's own if not given.", **COUNT
    )
    validation_fraction: float = option_field(
        0.0,
        DATA,
        float,
        "Part of the train split that is held out, watched, and used to choose a best model.",
        **FRACTION,
    )
    corrupt_images: str = option_field(
        "refuse",
        DATA,
        str,
        "What to do about unreadable images of folder: data.",
        choices=("refuse", "skip"),
    )
    max_train_examples: int = option_field(
        0, DATA, int, "Train on this many examples only; 0 for all. For dry runs.", **NATURAL
    )
    max_test_examples: int = option_field(
        0, DATA, int, "Test on this many examples only; 0 for all. For dry runs.", **NATURAL
    )
    cache_gb: float = option_field(
        4.0,
        DATA,
        float,
        "Data sets up to this size (decoded, in GiB) are held in memory; larger ones are streamed.",
        **NATURAL,
    )
    data_seed: int = option_field(
        0, DATA, int, "Seed of the order of the data and of the augmentation.", **NATURAL
    )
    augmentation_views: int = option_field(
        0,
        DATA,
        int,
        "Augment the data of this many epochs anew and repeat them from then on, so that their "
        "teacher labels (--teacher_cache) serve any number of epochs; 0 to augment all anew.",
        **NATURAL,
    )
    # Augmentation
    augmentation: str = option_field(
        "crop_flip",
        AUGMENTATION,
        str,
        "Recipe: what the flags below take if they are not given. crop_flip is a padded random "
        "crop and a flip; deit adds RandAugment, erasing, mixup and CutMix; mixer_cifar has "
        "AutoAugment and CutMix.",
        choices=presets.NAMES,
    )
    crop: str | None = option_field(
        None,
        AUGMENTATION,
        str,
        "Random crop: after padding, or of a random part that is scaled to the image size.",
        choices=("none", "padded", "resized"),
    )
    crop_padding: int | None = option_field(
        None,
        AUGMENTATION,
        int,
        "Pixels of zero padding round the image before the random crop; an eighth of the image "
        "size if not given.",
        **NATURAL,
    )
    crop_twice: bool | None = option_field(
        None, AUGMENTATION, bool, "Do the padded crop two times, one after the other."
    )
    crop_scale: float | None = option_field(
        None,
        AUGMENTATION,
        float,
        "Least part of the picture's area in a resized crop; the greatest is all of it.",
        check=lambda v: 0 < v <= 1,
        wanted="above 0 and at most 1",
    )
    crop_ratio: float | None = option_field(
        None,
        AUGMENTATION,
        float,
        "Greatest ratio of width to height of a resized crop; the least is its inverse.",
        check=lambda v: v >= 1,
        wanted="at least 1",
    )
    horizontal_flip: str = option_field(
        "auto",
        AUGMENTATION,
        str,
        "Whether to mirror images at random; auto does what the recipe says, but leaves it out for "
        "digits and house numbers.",
        choices=("auto", "yes", "no"),
    )
    auto_augment: str | None = option_field(
        None,
        AUGMENTATION,
        str,
        "Random operations on each image: RandAugment, or AutoAugment's policy for CIFAR-10.",
        choices=("none", "rand", "cifar10"),
    )
    rand_augment_layers: int | None = option_field(
        None, AUGMENTATION, int, "RandAugment: operations drawn for each image.", **COUNT
    )
    rand_augment_magnitude: float | None = option_field(
        None,
        AUGMENTATION,
        float,
        "RandAugment: magnitude.",
        check=lambda v: 0 <= v <= 10,
        wanted="between 0 and 10",
    )
    rand_augment_std: float | None = option_field(
        None,
        AUGMENTATION,
        float,
        "RandAugment: standard deviation of the noise on the magnitude.",
        **NATURAL,
    )
    rand_augment_probability: float | None = option_field(
        None, AUGMENTATION, float, "RandAugment: part of the drawn operations applied.", **PART
    )
    rand_augment_increasing: bool | None = option_field(
        None,
        AUGMENTATION,
        bool,
        "RandAugment: all operations change the image more at a larger magnitude.",
    )
    color_jitter: float | None = option_field(
        None,
        AUGMENTATION,
        float,
        "Strength of random brightness, contrast and colour; beside --auto_augment only if given.",
        **NATURAL,
    )
    random_erasing: float | None = option_field(
        None, AUGMENTATION, float, "Part of the images that get a box of noise.", **PART
    )
    random_erasing_count: int | None = option_field(
        None, AUGMENTATION, int, "Greatest number of boxes in an image.", **COUNT
    )
    mixup_alpha: float | None = option_field(
        None,
        AUGMENTATION,
        float,
        "mixup: its weight is drawn from Beta(alpha, alpha); 0 for no mixup.",
        **NATURAL,
    )
    cutmix_alpha: float | None = option_field(
        None, AUGMENTATION, float, "CutMix: likewise; 0 for no CutMix.", **NATURAL
    )
    mix_probability: float | None = option_field(
        None, AUGMENTATION, float, "Part of the batches with mixup or CutMix.", **PART
    )
    mix_switch_probability: float | None = option_field(
        None,
        AUGMENTATION,
        float,
        "Part of these batches with CutMix, if there are both.",
        **PART,
    )
    label_smoothing: float | None = option_field(
        None, AUGMENTATION, float, "Label mass spread over all classes.", **FRACTION
    )
    repeated_augmentation: int | None = option_field(
        None,
        AUGMENTATION,
        int,
        "How often an image comes in an epoch, each time augmented anew; an epoch keeps its length "
        "and has fewer images.",
        **COUNT,
    )
    eval_crop_ratio: float | None = option_field(
        None,
        AUGMENTATION,
        float,
        "Part of the short side that the square of an evaluated picture has; for pictures that "
        "--image_size scales.",
        check=lambda v: 0 < v <= 1,
        wanted="above 0 and at most 1",
    )
    # Model
    model: str = option_field("mixer_s16", MODEL, str, "Name of the model, for example mixer_s16.")
    patch_size: int | None = option_field(
        None, MODEL, int, "Side of a patch in pixels; the model's own if not given.", **COUNT
    )
    width: int | None = option_field(None, MODEL, int, "Channels, if not the model's own.", **COUNT)
    depth: int | None = option_field(None, MODEL, int, "Blocks, if not the model's own.", **COUNT)
    token_mlp_dim: int | None = option_field(
        None, MODEL, int, "Hidden width of token mixing (Mixer); width/2 if not given.", **COUNT
    )
    channel_mlp_dim: int | None = option_field(
        None,
        MODEL,
        int,
        "Hidden width of channel mixing; 4 x width if not given (gMLP: 6 x).",
        **COUNT,
    )
    stochastic_depth: float = option_field(
        0.0,
        MODEL,
        float,
        "Drop rate of the last block; earlier blocks ramp up to it (ResMLP: of all blocks).",
        **FRACTION,
    )
    gelu: str | None = option_field(
        None, MODEL, str, "Exact (erf) or tanh GELU.", choices=("exact", "tanh")
    )
    layer_norm_epsilon: float | None = option_field(
        None,
        MODEL,
        float,
        "Epsilon of layer normalisation; the model's own if not given.",
        **POSITIVE,
    )
    window_size: int | None = option_field(
        None,
        MODEL,
        int,
        "Side of Swin's attention windows in patches; 7 if not given, which divides the maps of "
        "224 px.",
        **COUNT,
    )
    shortcut: str | None = option_field(
        None,
        MODEL,
        str,
        "Shortcut of the CIFAR ResNets where the shape changes.",
        choices=("projection", "identity"),
    )
    # Distillation
    distillation: str = option_field(
        "none",
        DISTILLATION,
        str,
        "Whether teachers are followed, by their class (hard) or their probabilities (soft).",
        choices=("none", "soft", "hard"),
    )
    teacher: tuple[str, ...] = option_field(
        (),
        DISTILLATION,
        str,
        "SOURCE[,site=last|intermediate|both][,input=byte|unit|signed|imagenet]"
        "[,output=logits|probabilities][,size=N]; repeatable. SOURCE is a run directory, a .keras "
        "file, a SavedModel, keras:NAME or std_keras:NAME (packed weights).",
        repeated=True,
    )
    objective: str = option_field(
        "standard",
        DISTILLATION,
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
        DISTILLATION,
        float,
        "--objective=nasty: weight of the divergence from --teacher; published are 0.04 for "
        "CIFAR-10 and 0.005 for CIFAR-100.",
        **POSITIVE,
    )
    nasty_temperature: float = option_field(
        4.0,
        DISTILLATION,
        float,
        "--objective=nasty: softening of both sides; published are 4 for CIFAR-10 and 20 for "
        "CIFAR-100.",
        **POSITIVE,
    )
    skeptical_stage: int = option_field(
        1,
        DISTILLATION,
        int,
        "--objective=skeptical: the stage, counted from 1, after which the auxiliary classifier "
        "sits that the teachers reach.",
        check=lambda v: v in (1, 2),
        wanted="1 or 2, the stages before the last",
    )
    tokens: str = option_field(
        "both",
        DISTILLATION,
        str,
        "Which tokens a teacher gets: both, one of them, none (a second head on the pooled "
        "features), or deit (one token beside the patches through all blocks).",
        choices=("both", "spatial", "channel", "none", "deit"),
    )
    token_mlps: int = option_field(
        1,
        DISTILLATION,
        int,
        "MLP pairs stacked in a token set (the paper's figure draws 2).",
        check=lambda v: v in (1, 2),
        wanted="1 or 2",
    )
    propagate_tokens: bool = option_field(
        False,
        DISTILLATION,
        bool,
        "With site=both: the tokens that leave the intermediate set enter the last one.",
    )
    alpha: float = option_field(
        0.5,
        DISTILLATION,
        float,
        "Weight of the teachers; the labels get 1 - alpha.",
        **PART,
    )
    temperature: float = option_field(
        1.0, DISTILLATION, float, "Softening of both sides in soft distillation.", **POSITIVE
    )
    confidence: str = option_field(
        "negative_entropy",
        DISTILLATION,
        str,
        "What weighs the teachers against each other.",
        choices=("negative_entropy", "entropy", "uniform"),
    )
    confidence_scope: str = option_field(
        "example",
        DISTILLATION,
        str,
        "Weights per example, or one weight per batch.",
        choices=("example", "batch"),
    )
    teacher_cache: str | None = option_field(
        None,
        DISTILLATION,
        str,
        "Folder where what the teachers say about every augmented image is stored and read again, "
        "by all runs with the same data, augmentation, --data_seed, --batch_size and teachers.",
        shapes_result=False,
    )
    teacher_cache_mode: str = option_field(
        "fill",
        DISTILLATION,
        str,
        "fill computes and stores what is missing; read refuses to begin unless all is there.",
        choices=("fill", "read"),
        shapes_result=False,
    )
    teacher_cache_top_k: int = option_field(
        0,
        DISTILLATION,
        int,
        "Soft distillation: keep this many of the largest logits; the remaining probability is "
        "shared out evenly over the other classes. 0 for all logits.",
        **NATURAL,
    )
    # MINE
    mine_weight: float = option_field(
        0.0,
        MINE,
        float,
        "Weight of the mutual information between spatial and channel tokens; 0 turns it off.",
        **NATURAL,
    )
    mine_schedule: str = option_field(
        "step",
        MINE,
        str,
        "Inside every training step, or once after each epoch.",
        choices=("step", "epoch"),
    )
    mine_samples: int = option_field(
        0, MINE, int, "Examples of the epoch schedule; 0 for one batch.", **NATURAL
    )
    mine_learning_rate: float | None = option_field(
        None,
        MINE,
        float,
        "Learning rate of the critic: Adam 1e-4 per step, or SGD 0.01 per epoch, if not given.",
        **POSITIVE,
    )
    mine_student_learning_rate: float = option_field(
        0.01, MINE, float, "The student's SGD learning rate in the epoch schedule.", **POSITIVE
    )
    mine_bias_correction: bool = option_field(
        True, MINE, bool, "Correct the gradient of the bound by a moving average."
    )
    # Optimization
    epochs: int = option_field(300, OPTIMIZATION, int, "Passes over the train split.", **COUNT)
    batch_size: int = option_field(
        128, OPTIMIZATION, int, "Examples per step over all devices.", **COUNT
    )
    optimizer: str = option_field(
        "adamw",
        OPTIMIZATION,
        str,
        "adamw (decoupled weight decay) or sgd (Nesterov momentum, L2 weight decay).",
        choices=("adamw", "sgd"),
    )
    learning_rate: float = option_field(
        1e-3, OPTIMIZATION, float, "Learning rate after the warm-up.", **POSITIVE
    )
    learning_rate_batch_size: int = option_field(
        0,
        OPTIMIZATION,
        int,
        "The batch size that --learning_rate and --minimum_learning_rate are meant for: with "
        "another --batch_size both are multiplied by --batch_size over this (the linear scaling "
        "rule; not the rates of MINE). 0 takes them as they are.",
        **NATURAL,
    )
    minimum_learning_rate: float = option_field(
        1e-5, OPTIMIZATION, float, "Where the cosine ends.", **NATURAL
    )
    warmup_epochs: float | None = option_field(
        None,
        OPTIMIZATION,
        float,
        "Linear warm-up, in epochs; 5, or a fifth of --epochs if that is less, if not given.",
        **NATURAL,
    )
    weight_decay: float = option_field(
        0.05,
        OPTIMIZATION,
        float,
        "Weight decay; biases, normalisations and tokens are left out.",
        **NATURAL,
    )
    momentum: float = option_field(0.9, OPTIMIZATION, float, "Momentum of sgd.", **FRACTION)
    clip_norm: float = option_field(
        0.0,
        OPTIMIZATION,
        float,
        "Largest global norm of the gradient; 0 for no clipping.",
        **NATURAL,
    )
    accumulation_steps: int = option_field(
        1, OPTIMIZATION, int, "Parts into which a batch is cut to save memory.", **COUNT
    )
    ema_decay: float = option_field(
        0.0,
        OPTIMIZATION,
        float,
        "Decay of the moving average of the weights; 0 for none.",
        **FRACTION,
    )
    initialize_from: str | None = option_field(
        None,
        OPTIMIZATION,
        str,
        "Directory of a finished run whose weights training starts from (fine-tuning); its input "
        "normalisation comes along, and heads stay new if the number of classes differs.",
    )
    seed: int = option_field(0, OPTIMIZATION, int, "Seed of initialisation and dropout.", **NATURAL)
    # Run directory and cadence
    evaluate_every_epochs: int = option_field(
        1, RUN, int, "Epochs between evaluations.", shapes_result=False, **COUNT
    )
    checkpoint_every_steps: int = option_field(
        0,
        RUN,
        int,
        "Steps between checkpoints; 0 for once an epoch.",
        shapes_result=False,
        **NATURAL,
    )
    keep_checkpoints: int = option_field(
        2, RUN, int, "Checkpoints kept.", shapes_result=False, **COUNT
    )
    save_failures_allowed: int = option_field(
        0,
        RUN,
        int,
        "How many checkpoints in a row may fail to be written, for example because the disk is "
        "full, before the run stops with exit code 5.",
        shapes_result=False,
        **NATURAL,
    )
    data_stall_seconds: float = option_field(
        60.0,
        RUN,
        float,
        "Seconds that a step waits for data until a warning says so; 0 for never.",
        shapes_result=False,
        **NATURAL,
    )
    log_every_steps: int = option_field(
        50, RUN, int, "Steps between logged training figures.", shapes_result=False, **COUNT
    )
    profile_steps: int = option_field(
        0,
        RUN,
        int,
        "Steps to record with the TensorBoard profiler, from the 20th step of this process on.",
        shapes_result=False,
        **NATURAL,
    )
    # Performance
    strategy: str = option_field(
        "auto",
        PERFORMANCE,
        str,
        "How to spread the work over devices.",
        choices=("auto", "one_device", "mirrored", "multi_worker", "tpu"),
        shapes_result=False,
    )
    logical_cpus: int = option_field(
        0,
        PERFORMANCE,
        int,
        "Split the CPU into this many logical devices, to try --strategy=mirrored without GPUs.",
        shapes_result=False,
        **NATURAL,
    )
    mixed_precision: bool = option_field(
        False,
        PERFORMANCE,
        bool,
        "Compute in bfloat16, keep weights in float32; Keras teachers too. For GPUs, and for CPUs "
        "that have units for it (AMX), there without --jit_compile.",
        shapes_result=False,
    )
    jit_compile: bool = option_field(
        False, PERFORMANCE, bool, "Compile the training step with XLA.", shapes_result=False
    )
    rematerialize: bool = option_field(
        False,
        PERFORMANCE,
        bool,
        "Keep only what enters each block and token set, and compute what is inside again for the "
        "gradient: less memory, about a third more arithmetic.",
        shapes_result=False,
    )
    steps_per_call: int = option_field(
        10,
        PERFORMANCE,
        int,
        "Steps per call from Python into TensorFlow.",
        shapes_result=False,
        **COUNT,
    )
    evaluation_batch_size: int | None = option_field(
        None,
        PERFORMANCE,
        int,
        "Batch of the evaluation; the training batch if not given.",
        shapes_result=False,
        **COUNT,
    )

    def __post_init__(self) -> None:
        """Raises `InputError` for a value outside its limits, or for values that do not agree."""
        for name, option in options().items():
            if getattr(self, name) is not None or getattr(TrainConfig, name) is not None:
                check_value(name, option, getattr(self, name))
        check_agreement(self)

    @property
    def uses_teachers(self) -> bool:
        """Whether the teachers named are loaded and asked."""
        return self.distillation != "none" or self.objective == "nasty"

    @property
    def has_student_heads(self) -> bool:
        """Whether the model is a student that has a head for every teacher."""
        return self.distillation != "none" and self.objective == "standard"

    @property
    def needs_teacher_logits(self) -> bool:
        """Whether the loss needs all that teachers say, not their decision alone."""
        return self.distillation == "soft" or self.objective == "nasty"

    def to_json(self) -> str:
        """The configuration as JSON, one key per flag."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, source: str) -> TrainConfig:
        """Makes a configuration from parsed JSON.

        Args:
            values: the flags by name; flags that are not named keep their defaults.
            source: the file that is named in errors.

        Raises:
            InputError: for a flag that does not exist or a value of the wrong kind.
        """
        known = options()
        for name in values:
            if name not in known:
                raise InputError(f"{source}: there is no flag --{name}")
        clean = {}
        for name, value in values.items():
            option = known[name]
            if option.repeated and isinstance(value, list):
                value = tuple(value)
            clean[name] = value
        try:
            return cls(**clean)
        except InputError as error:
            raise InputError(f"{source}: {error}") from error

    def applied_learning_rates(self) -> tuple[float, float]:
        """The peak and the end of the learning rate, scaled to the batch if that is asked for.

        The linear scaling rule: Goyal et al. 2017, "Accurate, Large Minibatch SGD: Training
        ImageNet in 1 Hour", arXiv 1706.02677, section 2.1.
        """
        reference = self.learning_rate_batch_size
        factor = self.batch_size / reference if reference else 1.0
        return self.learning_rate * factor, self.minimum_learning_rate * factor

    def augmentation_flags(self) -> dict[str, Any]:
        """The flags of the augmentation by name, but for the preset."""
        names = [n for n, option in options().items() if option.topic == AUGMENTATION]
        return {name: getattr(self, name) for name in names if name != "augmentation"}

    def model_options(self) -> dict[str, Any]:
        """The options of the model that were set, as `std_keras.models.create` takes them."""
        names = (
            "patch_size",
            "width",
            "depth",
            "token_mlp_dim",
            "channel_mlp_dim",
            "gelu",
            "layer_norm_epsilon",
            "window_size",
            "shortcut",
        )
        chosen = {n: getattr(self, n) for n in names if getattr(self, n) is not None}
        if self.stochastic_depth:
            chosen["stochastic_depth"] = self.stochastic_depth
        return chosen


def options() -> dict[str, Option]:
    """Every option by the name of its flag, in the order of definition."""
    return {f.name: f.metadata["option"] for f in dataclasses.fields(TrainConfig)}


def resolve(config: TrainConfig, *, image_size: int, horizontal_flip: bool) -> TrainConfig:
    """Fills in what depends on other flags and on the data set.

    Args:
        config: as the user gave it.
        image_size: side of the data set's images in pixels.
        horizontal_flip: whether a mirrored image of the data set keeps its class.
    """
    c = config
    filled: dict[str, Any] = {"image_size": image_size}
    filled |= presets.resolved(
        c.augmentation_flags(),
        preset=c.augmentation,
        image_size=image_size,
        flip_keeps_class=horizontal_flip,
    )
    if c.warmup_epochs is None:
        filled["warmup_epochs"] = min(5.0, c.epochs / 5)
    if c.mine_learning_rate is None:
        filled["mine_learning_rate"] = 1e-4 if c.mine_schedule == "step" else 0.01
    if not c.mine_samples:
        filled["mine_samples"] = c.batch_size
    if c.evaluation_batch_size is None:
        filled["evaluation_batch_size"] = c.batch_size
    return dataclasses.replace(c, **filled)


def differing_flags(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Names the flags that shape the result and differ, as `--name=old, now new`."""
    return [
        f"--{name}={_shown(getattr(old, name))}, now {_shown(getattr(new, name))}"
        for name, option in options().items()
        if option.shapes_result and getattr(old, name) != getattr(new, name)
    ]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + "; ".join(value) + "]"
    return "(not given)" if value is None else str(value)
