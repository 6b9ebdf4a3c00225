"""The names of a converted model's classes, and where they are from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from std_keras.data.class_names import class_names
from std_keras.errors import InputError
from std_keras.runs.run_directory import RunDirectory
from std_keras.weights.run import read_label_names

NUMBERED = "named by their numbers; name them with `labels` or `dataset`"
_IMAGENET = "imagenet2012"


@dataclass(frozen=True)
class ClassNames:
    """Class names in the order of the logits.

    Attributes:
        names: one a class.
        source: where they are from, in words.
    """

    names: tuple[str, ...]
    source: str


def find_class_names(
    *,
    labels: str | Path | None,
    described: Sequence[str] | None,
    imagenet: bool,
    dataset: str,
    data_dir: str | Path | None,
    num_classes: int,
) -> ClassNames:
    """Takes the first of: a file, what the weights' own description says, a data set, numbers.

    Args:
        labels: a file of class names.
        described: names that came with the weights.
        imagenet: whether 1000 classes are those of ImageNet-1k.
        dataset: a data set whose classes the weights know; "" for none.
        data_dir: where TFDS keeps its prepared data sets.
        num_classes: of the model.

    Raises:
        InputError: if there are more or fewer than `num_classes`.
    """
    if labels is not None:
        names = read_label_names(labels, num_classes=num_classes)
        return ClassNames(names, f"named by {Path(labels).name}")
    if described is not None and len(described) == num_classes:
        return ClassNames(tuple(described), "named by the source's config.json")
    if dataset:
        names = class_names(dataset, data_dir=None if data_dir is None else str(data_dir))
        if len(names) != num_classes:
            raise InputError(
                f"dataset={dataset} has {len(names)} classes, the weights have {num_classes}; "
                "leave `dataset` out, or name the one that they were trained on"
            )
        return ClassNames(names, f"named as in {dataset}")
    if imagenet and num_classes == 1000:
        return ClassNames(class_names(_IMAGENET, data_dir=None), "those of ImageNet-1k")
    return ClassNames(tuple(str(index) for index in range(num_classes)), NUMBERED)


def has_numbers_for_names(run: RunDirectory) -> bool:
    """Whether a converted run's classes are numbered for want of names."""
    if not run.result_file.is_file():
        return False
    origin = run.read_result().get("origin") or {}
    numbers = tuple(str(index) for index in range(len(run.read_labels())))
    return origin.get("labels") == NUMBERED and run.read_labels() == numbers
