"""Options that several commands share, so that they mean the same everywhere.

A command replaces the help with `saying`.
"""

from __future__ import annotations

import dataclasses

from std_keras.config import option, options
from std_keras.config.option import COUNT, DATA, MODEL, NATURAL, PART, PERFORMANCE, RUN, Option


def saying(option: Option, help: str) -> Option:
    """The same option with other help."""
    return dataclasses.replace(option, help=help)


# Where a run is.
MODEL_DIR = Option(
    topic=MODEL, help="The run directory, std_keras:NAME, or hf-hub:ORG/NAME.", kind=str
)
NEW_RUN = Option(topic=RUN, help="The run directory to create; new or empty.", kind=str)
OUTPUT_DIR = Option(topic=RUN, help="The output folder; created if missing.", kind=str)
REPORT_DIR = saying(OUTPUT_DIR, "The output folder for JSON, PNG, report.html and tensorboard/.")

# Which model of a run.
HEAD = Option(
    topic=MODEL,
    help="average, classification, distillation, confidence, or a single head by name; the head "
    "of model.keras if not given.",
    kind=str,
)
WEIGHTS = Option(
    topic=MODEL,
    help="ema: the exponential moving average of the weights; raw: the weights as the optimizer "
    "left them; those of model.keras if not given.",
    kind=str,
    choices=("ema", "raw"),
)
MAX_ACCURACY_DROP = Option(
    topic=RUN, help="Fail if top-1 changes by more than this fraction.", kind=float, **PART
)

# Which images.
DATA_DIR = options()["data_dir"]
IMAGE_SIZE = options()["image_size"]
CORRUPT_IMAGES = options()["corrupt_images"]
DATASET = Option(topic=DATA, help="Data set; the run's own if not given.", kind=str)
EXAMPLES = Option(
    topic=DATA,
    help="Use at most this many evenly spaced test images; 0 for all.",
    kind=int,
    **NATURAL,
)
LABELS = Option(
    topic=DATA, help="A file of class names, one per line, in the order of the logits.", kind=str
)
NUM_CLASSES = Option(topic=MODEL, help="Number of classes.", kind=int, **COUNT)

# How fast.
BATCH_SIZE = Option(topic=PERFORMANCE, help="Batch size.", kind=int, **COUNT)
THREADS = Option(
    topic=PERFORMANCE, help="Number of threads for the model.", kind=int, **option.THREADS
)


def training() -> dict[str, Option]:
    """The options of training: the run directory, and all of `TrainConfig`."""
    model_dir = "The run directory: created, or continued if it exists."
    return {"model_dir": Option(topic=RUN, help=model_dir, kind=str), **options()}
