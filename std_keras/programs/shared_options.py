"""Options that several commands have in common, so that they mean the same everywhere.

A command that wants another sentence in its help says so with `saying`.
"""

from __future__ import annotations

import dataclasses

from std_keras.config import options
from std_keras.config.option import COUNT, DATA, MODEL, NATURAL, PART, PERFORMANCE, RUN, Option


def saying(option: Option, help: str) -> Option:
    """The same option with another sentence for `--help`."""
    return dataclasses.replace(option, help=help)


# Where a run is.
MODEL_DIR = Option(topic=MODEL, help="The run directory, or std_keras:NAME.", kind=str)
NEW_RUN = Option(topic=RUN, help="The run directory to make; new or empty.", kind=str)
OUTPUT_DIR = Option(topic=RUN, help="Where the files go; made if it is not there.", kind=str)
REPORT_DIR = saying(OUTPUT_DIR, "Where JSON, PNG, report.html and tensorboard/ are written.")

# What of a run is taken.
HEAD = Option(
    topic=MODEL,
    help="average, classification, distillation, confidence, or one head by name; the one that "
    "model.keras returns if not given.",
    kind=str,
)
WEIGHTS = Option(
    topic=MODEL,
    help="The moving average of the weights, or the weights as the optimizer left them; those of "
    "model.keras if not given.",
    kind=str,
    choices=("ema", "raw"),
)
MAX_ACCURACY_DROP = Option(
    topic=RUN, help="Refuse if top-1 changes by more than this fraction.", kind=float, **PART
)

# Which images.
DATA_DIR = options()["data_dir"]
IMAGE_SIZE = options()["image_size"]
CORRUPT_IMAGES = options()["corrupt_images"]
DATASET = Option(topic=DATA, help="The run's own data set if not given.", kind=str)
EXAMPLES = Option(
    topic=DATA,
    help="So many test images, taken at equal distances; 0 for all.",
    kind=int,
    **NATURAL,
)
LABELS = Option(
    topic=DATA, help="A file of class names, one a line, in the order of the logits.", kind=str
)
NUM_CLASSES = Option(topic=MODEL, help="Classes of the head.", kind=int, **COUNT)

# How fast.
BATCH_SIZE = Option(topic=PERFORMANCE, help="Examples at a time.", kind=int, **COUNT)
THREADS = Option(topic=PERFORMANCE, help="How many cores the model may use.", kind=int, **COUNT)


def training() -> dict[str, Option]:
    """The options of a training: where, and all that `TrainConfig` has."""
    model_dir = "The run directory: made, or continued if it exists."
    return {"model_dir": Option(topic=RUN, help=model_dir, kind=str), **options()}
