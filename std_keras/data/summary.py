"""What a data set holds, for the first lines of a log."""

from __future__ import annotations

from statistics import median

import numpy as np

from std_keras.data.dataset import DataSet
from std_keras.data.listed import some
from std_keras.data.source import IndexedSource, Source
from std_keras.files import picture_file

_NAMED = 10  # Files.
_FEW = 12  # Classes that are counted one by one.
_UNBALANCED = 3  # Largest over smallest class, above which accuracy says little of the smallest.


def lines(dataset: DataSet) -> list[str]:
    """Images, classes, their sizes, what was left out, and where each part came from."""
    parts = _parts(dataset)
    shape = "x".join(str(n) for n in dataset.image_shape[:2])
    found = [
        f"data: {dataset.name}: {sum(source.size for source in parts.values()):,} images in "
        f"{dataset.num_classes} classes, used at {shape} pixels{_sides(dataset)}"
    ]
    counts = class_counts(dataset)
    if "train" in counts:
        of_train = counts["train"]
        if dataset.num_classes <= _FEW:
            each = (f"{n} {c}" for n, c in zip(dataset.label_names, of_train, strict=True))
            found.append(f"data: train images by class: {', '.join(each)}")
        else:
            least, most = int(np.argmin(of_train)), int(np.argmax(of_train))
            found.append(
                f"data: largest class in train {dataset.label_names[most]} ({of_train[most]}), "
                f"smallest {dataset.label_names[least]} ({of_train[least]})"
            )
    for part, source in parts.items():
        origin = dataset.origins.get(part)
        found.append(f"data: {part}: {source.size:,} images" + (f", {origin}" if origin else ""))
    if dataset.left_out:
        listed = ", ".join(
            f"{count} {ending}" for ending, count in sorted(dataset.left_out.items())
        )
        found.append(
            f"data: files of other kinds left out: {listed}{picture_file.advice(dataset.left_out)}"
        )
    return found


def skipped(dataset: DataSet) -> str | None:
    """One sentence on the files that were left out; None if there are none."""
    count = len(dataset.skipped)
    if not count:
        return None
    images = "1 image" if count == 1 else f"{count} images"
    named = some(dataset.skipped, most=_NAMED)
    return f"dataset={dataset.name}: left out {images} that cannot be decoded: {named}"


def warnings(dataset: DataSet, *, weighted: bool = False) -> list[str]:
    """What makes figures on this data worth little.

    Args:
        dataset: the data.
        weighted: whether classes of all sizes count alike in training.
    """
    found = []
    if dataset.num_classes == 1:
        found.append(
            f"dataset={dataset.name} has one class only ({dataset.label_names[0]}): every model "
            "has an accuracy of 1 on it"
        )
    counts = class_counts(dataset)
    for part, of_part in counts.items():
        lacking = [
            name if part == "train" or "train" not in counts else f"{name} ({in_train} in train)"
            for name, n, in_train in zip(
                dataset.label_names, of_part, counts.get("train", of_part), strict=True
            )
            if not n
        ]
        if lacking:
            have = "a class has" if len(lacking) == 1 else f"{len(lacking)} classes have"
            found.append(
                f"dataset={dataset.name}: {have} no image in the {part} part: {some(lacking)}"
            )
    if not weighted and "train" in counts:
        found += _imbalance(dataset, counts["train"])
    return found


def _imbalance(dataset: DataSet, counts: np.ndarray) -> list[str]:
    there = np.flatnonzero(counts)
    least, most = (int(there[pick(counts[there])]) for pick in (np.argmin, np.argmax))
    ratio = counts[most] / counts[least]
    if ratio <= _UNBALANCED:
        return []
    return [
        f"dataset={dataset.name} is unbalanced: {dataset.label_names[most]} has {counts[most]} "
        f"training images, {dataset.label_names[least]} {counts[least]} (ratio {ratio:.3g}); small "
        "classes will rarely be predicted: use class_weights=balanced, and compare balanced "
        "accuracy"
    ]


def class_counts(dataset: DataSet) -> dict[str, np.ndarray]:
    """By part, how many examples each class has (num_classes,); not of parts that are streamed
    from records, whose labels are known only while they are read."""
    return {
        part: np.bincount(source.labels(), minlength=dataset.num_classes)
        for part, source in _parts(dataset).items()
        if isinstance(source, IndexedSource)
    }


def _parts(dataset: DataSet) -> dict[str, Source]:
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    return {part: source for part, source in parts.items() if source is not None}


def _sides(dataset: DataSet) -> str:
    sides = dataset.sides
    if not sides:
        return ""
    if sides[0] == sides[-1]:
        return f"; short side of the pictures {sides[0]}"
    return f"; short side of the pictures {sides[0]} to {sides[-1]}, median {median(sides):g}"
