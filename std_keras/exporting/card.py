"""What an exported file will say about itself, from the run it comes from."""

from __future__ import annotations

import keras

import std_keras
from std_keras.exporting.classifying.card import ModelCard
from std_keras.runs.run_directory import RunDirectory
from std_keras.training.augmentation import picture_options


def card_of_run(
    run: RunDirectory, *, model: keras.Model, head: str, dataset: str, top1: float, examples: int
) -> ModelCard:
    """The card of a run's model.

    Args:
        run: where its configuration and its labels are.
        model: as `inference_model` returns it.
        head: the head that it predicts with.
        dataset: what `top1` was measured on.
        top1: fraction of `examples` test images that the model gets right, before conversion.
        examples: see `top1`.
    """
    config = run.read_config()
    pictures = picture_options(config.augmentation, image_size=config.data.image_size)
    _, size, _, channels = model.input_shape
    return ModelCard(
        name=config.model.name,
        version=std_keras.__version__,
        labels=tuple(run.read_labels()),
        image_size=size,
        channels=channels,
        crop_ratio=pictures["eval_crop_ratio"],
        head=head,
        dataset=dataset,
        top1=top1,
        examples=examples,
    )
