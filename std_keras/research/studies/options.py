"""The analyses and their flags; nothing here loads TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from std_keras.config.option import (
    COUNT,
    MODEL,
    NATURAL,
    OPTIMIZATION,
    POSITIVE,
    RUN,
    Option,
)
from std_keras.programs import shared_options

COMMON = {
    "model_dir": shared_options.saying(
        shared_options.MODEL_DIR, "The run directory to analyze, or std_keras:NAME."
    ),
    "weights": shared_options.WEIGHTS,
    "output_dir": shared_options.REPORT_DIR,
    "dataset": shared_options.DATASET,
    "data_dir": shared_options.DATA_DIR,
    "examples": shared_options.saying(
        shared_options.EXAMPLES, "Use at most this many evenly spaced images of a split; 0 for all."
    ),
    "batch_size": dataclasses.replace(
        shared_options.BATCH_SIZE, check=lambda v: v >= 4, wanted="4 or more"
    ),
}
COMMON_DEFAULTS: dict[str, Any] = {"examples": 2000, "batch_size": 128}
# Of the analyses that train small models.
_TRAINING = {
    "train_examples": Option(
        topic=OPTIMIZATION,
        help="Images to train on; 0 for all; as many as --examples if not given.",
        kind=int,
        **NATURAL,
    ),
    "train_epochs": Option(
        topic=OPTIMIZATION,
        help="Epochs of each training run; 0 skips them.",
        kind=int,
        **NATURAL,
    ),
    "train_learning_rate": Option(
        topic=OPTIMIZATION,
        help="Initial learning rate of Adam.",
        kind=float,
        **POSITIVE,
    ),
}
_TRAINING_DEFAULTS = {"train_epochs": 10, "train_learning_rate": 1e-3}
_AGAINST = {
    "against": Option(
        topic=MODEL,
        help="Models to compare with: a run directory, a .keras file, a SavedModel or keras:NAME, "
        "in the syntax of --teacher; may be repeated. The run's own teachers if not given.",
        kind=str,
        repeated=True,
    ),
}


@dataclass(frozen=True)
class Analysis:
    """What `std-keras analyze` needs to know of an analysis before it runs.

    Attributes:
        about: the question that it answers.
        options: its own flags.
        defaults: their values if they are not given.
        against: whether another model is "needed", "optional" or "unused".
    """

    about: str
    options: Mapping[str, Option] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    against: str = "unused"


ANALYSES = {
    "agreement": Analysis(
        about="Does the student agree with its teacher, and is it well calibrated?",
        options={
            **_AGAINST,
            "bins": Option(
                topic=RUN,
                help="Bins of the reliability diagrams.",
                kind=int,
                **COUNT,
            ),
        },
        defaults={"bins": 15},
        against="needed",
    ),
    "disagreement": Analysis(
        about="Which heads agree, and on which classes and images do they differ?",
        options={
            **_AGAINST,
            "images": Option(
                topic=RUN,
                help="Number of images with disagreement to show.",
                kind=int,
                **NATURAL,
            ),
        },
        defaults={"images": 12},
        against="optional",
    ),
    "tokens": Analysis(
        about="Do tokens copy their inputs or each other, and what is lost without them?",
        options={
            "critic_steps": Option(
                topic=RUN,
                help="Training steps of a new critic that estimates I(T_S; T_C); 0 skips it.",
                kind=int,
                **NATURAL,
            ),
            "history_examples": Option(
                topic=RUN,
                help="Images for the similarities over training; 0 skips them.",
                kind=int,
                **NATURAL,
            ),
        },
        defaults={"critic_steps": 400, "history_examples": 256},
        against="unused",
    ),
    "cka": Analysis(
        about="How similar are the layers of two models (linear CKA)?",
        options={
            **_AGAINST,
            "layers": Option(
                topic=MODEL,
                help="blocks: stem, blocks, norms, tokens and heads; all: also the layers inside "
                "blocks.",
                kind=str,
                choices=("blocks", "all"),
            ),
        },
        defaults={"layers": "blocks"},
        against="optional",
    ),
    "weights": Analysis(
        about="What do the filters of token mixing and stem look like, and how large are weights?",
        options={
            "filters": Option(
                topic=RUN,
                help="Number of filters to show per layer, those of the largest norm.",
                kind=int,
                **COUNT,
            ),
        },
        defaults={"filters": 64},
        against="unused",
    ),
    "permutation": Analysis(
        about="Does the order of patches and pixels matter? Trains small models.",
        options={
            **_AGAINST,
            **_TRAINING,
            "shuffle_seed": Option(topic=OPTIMIZATION, help="Seed of the permutations.", kind=int),
        },
        defaults={**_TRAINING_DEFAULTS, "shuffle_seed": 0},
        against="optional",
    ),
    "specialization": Analysis(
        about="Which channels of the student match channels of the teacher?",
        options={
            **_AGAINST,
            "synthetic_steps": Option(
                topic=OPTIMIZATION,
                help="Steps of the two-layer experiment; 0 skips it.",
                kind=int,
                **NATURAL,
            ),
        },
        defaults={"synthetic_steps": 4000},
        against="needed",
    ),
    "robustness": Analysis(
        about="Do labels or a teacher's logits make a student robust? Trains small models.",
        options={
            **_AGAINST,
            "epsilon": Option(
                topic=RUN,
                help="L-infinity radius of the attacks, in pixel values of 0 to 255.",
                kind=float,
                **POSITIVE,
            ),
            "epsilon_l2": Option(
                topic=RUN,
                help="L2 radius of the attack over the whole image, in pixel values of 0 to 255.",
                kind=float,
                **POSITIVE,
            ),
            "attack_steps": Option(topic=RUN, help="Steps of each attack.", kind=int, **COUNT),
            "images": Option(
                topic=RUN, help="Number of attacked images to show.", kind=int, **NATURAL
            ),
            **_TRAINING,
            "train_attack_steps": Option(
                topic=OPTIMIZATION, help="Attack steps during training.", kind=int, **COUNT
            ),
            "rho": Option(
                topic=OPTIMIZATION,
                help="CCAT: how fast the target of an adversarial image becomes uniform.",
                kind=float,
                **POSITIVE,
            ),
        },
        defaults={
            "epsilon": 8.0,
            "epsilon_l2": 128.0,
            "attack_steps": 20,
            "images": 6,
            **_TRAINING_DEFAULTS,
            "train_attack_steps": 5,
            "rho": 10.0,
        },
        against="needed",
    ),
}
