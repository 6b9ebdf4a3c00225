"""The model card: what packed weights are, from what, how good, and what they are not for."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from std_keras.config import TrainConfig
from std_keras.research.sweeps.plan import arguments_of

_DATA = {
    "cifar100": (
        "CIFAR-100 (Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images): "
        "50,000 training and 10,000 test photographs of 32 x 32 pixels. Its authors name no "
        "licence; the photographs come from the web."
    ),
    "cifar10": (
        "CIFAR-10 (Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images). Its "
        "authors name no licence; the photographs come from the web."
    ),
    "digits": (
        "scikit-learn's digits (UCI Optical Recognition of Handwritten Digits, CC BY 4.0): 1,797 "
        "images of 8 x 8 pixels, a fifth of them for the test."
    ),
}


@dataclass(frozen=True)
class Figures:
    """Accuracy on the test split, as fractions."""

    top1: float
    top5: float


def write(
    name: str,
    *,
    config: TrainConfig,
    result: Mapping[str, Any],
    classes: int,
    before: Figures,
    after: Figures,
    megabytes: float,
    notes: str,
) -> str:
    """The card as Markdown.

    Args:
        name: of the packed weights.
        config: of the run.
        result: its `result.json`.
        classes: how many the model tells apart.
        before: accuracy of the run's model.
        after: accuracy of the packed model.
        megabytes: size of the weights' file.
        notes: more on limits, from the one who packed.
    """
    data = _DATA.get(config.data.dataset, f"`{config.data.dataset}`; see its own terms of use.")
    size = config.data.image_size
    seconds = result.get("train_seconds")
    took = f", {seconds:,.0f} s of training" if seconds else ""
    teachers = config.distillation.teachers if config.distillation.uses_teachers else ()
    taught = f"It learned from {', '.join(f'`{t}`' for t in teachers)} too. " if teachers else ""
    limited = ""
    if config.data.max_train_examples or config.data.max_test_examples:
        limited = (
            f"\n- **Trained on {config.data.max_train_examples or 'all'} and tested on "
            f"{config.data.max_test_examples or 'all'} examples only: a trial.**"
        )
    # The figures of a training in bfloat16 were measured in it; these are of float32.
    row, precision = "", ""
    if config.performance.mixed_precision:
        row = f"| as trained, bfloat16 | {result['top1']:.2%} | {result['top5']:.2%} |\n"
        precision = " --mixed_precision"
    held_out = (
        f"A part of {config.data.validation_fraction:g} of train was held out. "
        if config.data.validation_fraction
        else ""
    )
    return f"""\
# {name}

`{config.model.name}` for images of {size} x {size} pixels and {classes} classes,
{result["parameters"]:,} trainable parameters, weights in float16 ({megabytes:.2f} MB).

    --teacher=std_keras:{name}
    std-keras evaluate --model_dir=std_keras:{name}

## Accuracy on the test split

| weights | top-1 | top-5 |
| --- | ---: | ---: |
{row}| as trained, float32 | {before.top1:.2%} | {before.top5:.2%} |
| packed, float16 | {after.top1:.2%} | {after.top5:.2%} |

After the last epoch, {result.get("weights", "raw")} weights, {result.get("head", "one")} head;
one run with `--seed={config.optimization.seed} --data_seed={config.data.data_seed}`, so without a
spread.

## Data

{data} {held_out}Pixels are 0 to 255; the model normalises them itself. `labels.txt` has the
classes in the order of the logits.

## Recipe

{result["epochs"]} epochs, {result["steps"]:,} steps{took}. {taught}Made by `std_keras.train` with

    {shlex.join(arguments_of(config, shaping=True))}{precision}

## Licence

The weights: Apache 2.0, as the package. The data has terms of its own, above.

## Limits

- It knows the classes of its data set and no others, and gives one of them to every image.
- It was tested on images of the same origin as those it learned from; nothing is known of others,
  of fairness, or of robustness.
- Meant for teaching students and for comparing methods, not for decisions about people.{limited}
{notes}"""
