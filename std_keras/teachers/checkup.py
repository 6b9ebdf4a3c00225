"""What a teacher is worth before anything is trained with it, and what is wrong with it.

A teacher with its classes in another order, or one that gets pixels in a wrong range, trains a
student all the same, for days.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from std_keras import losses
from std_keras.errors import Interrupted
from std_keras.teachers.memory import resident_mib
from std_keras.teachers.spec import TeacherSpec
from std_keras.teachers.teacher import INPUT_RANGES, Teacher

_BATCH = 16  # Layer by layer, a Keras model keeps what every layer returned until it has the last.
_RANGE_EXAMPLES = 128  # For each of the ranges that the user did not choose.
_CERTAIN = 3.0  # Standard deviations.
_WORTH_SAYING = 0.05  # Of top-1, as a fraction.
_SURE_OF_LABELS = 0.99  # Agreement, and
_SHARP = 0.05  # nats of entropy, with which hard predictions are the labels again.


@dataclass(frozen=True)
class Sample:
    """Images with their labels.

    Attributes:
        name: of the part that they are from: train, validation or test.
        views: by name, (n, H, W, C) uint8: the student's images, and what teachers see if that is
            more (see `Teacher.view`).
        labels: (n,) int.
    """

    name: str
    views: Mapping[str, np.ndarray]
    labels: np.ndarray


@dataclass(frozen=True)
class CheckUp:
    """What was found out about a teacher.

    Attributes:
        teacher: how the user named it.
        held_out: the part of the data set that it was not trained on: validation or test.
        examples: how many images of it were looked at.
        top1: the fraction of these whose label is the teacher's most probable class.
        entropy: mean entropy of the predictions for these, in nats.
        train_examples: how many training images were looked at.
        train_agreement: the fraction of these whose label is the most probable class.
        train_entropy: mean entropy of the predictions for these, in nats.
        images_per_second: after the first batch; None if there is no other, or if something else
            ran beside it.
        memory_mib: by which the process grew while the teacher was loaded and used; None likewise.
        top1_by_range: top-1 on some held-out images with each `input`, if the user chooses it.
        input: the `input` that the numbers above belong to, if the user chooses it.
        class_order: class names in the order of the teacher's outputs, if another order than the
            data set's fits far better; never applied.
        warnings: one sentence each.
    """

    teacher: str
    held_out: str
    examples: int
    top1: float
    entropy: float
    train_examples: int
    train_agreement: float
    train_entropy: float
    images_per_second: float | None
    memory_mib: float | None
    top1_by_range: Mapping[str, float] | None = None
    input: str | None = None
    class_order: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = ()

    def line(self) -> str:
        """The figures in one line of a log."""
        rate, memory = self.images_per_second, self.memory_mib
        costs = [] if rate is None else [f"{rate:,.0f} images/s"]
        costs += [] if memory is None else [f"{memory:,.0f} MiB"]
        return (
            f"teacher {self.teacher}: top-1 {self.top1:.4f} and entropy {self.entropy:.3f} nats on "
            f"{self.examples} held-out images ({self.held_out}); {self.train_agreement:.4f} and "
            f"{self.train_entropy:.3f} nats on {self.train_examples} training images"
            + (f"; {', '.join(costs)}" if costs else "")
        )

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        by_range = None if self.top1_by_range is None else dict(self.top1_by_range)
        return {**vars(self), "top1_by_range": by_range}


def check(
    teacher: Teacher,
    spec: TeacherSpec,
    *,
    held_out: Sample,
    train: Sample,
    label_names: Sequence[str],
    hard: bool,
    baseline: float | None = None,
    range_known: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> CheckUp:
    """Tries a teacher on images with labels.

    Args:
        teacher: loaded.
        spec: what it was loaded from.
        held_out: images that it was probably not trained on.
        train: images that it may have been trained on.
        label_names: the data set's class names.
        hard: whether students learn its classes alone.
        baseline: top-1 of the student without a teacher, as a fraction, if known.
        range_known: whether `spec.input` is what the user believes, not a guess; a guess is
            replaced by what fits best.
        stop: asked between batches.

    Raises:
        Interrupted: because `stop()` was true.
    """
    before = resident_mib()
    teacher = _traced(teacher, held_out.views[teacher.view][:1])
    by_range: dict[str, np.ndarray] | None = None
    if spec.input is not None:
        by_range = _top1_by_range(teacher, held_out, stop=stop)
        if not range_known:
            best = max(by_range, key=lambda name: by_range[name].mean())
            spec = replace(spec, input=best)
            teacher = replace(teacher, scale=INPUT_RANGES[best])
    logits, seconds = _logits(teacher, held_out.views[teacher.view], stop=stop)
    train_logits, train_seconds = _logits(teacher, train.views[teacher.view], stop=stop)
    right = logits.argmax(axis=1) == held_out.labels
    timed = sum((math.ceil(len(one) / _BATCH) - 1) * _BATCH for one in (logits, train_logits))
    order = better_order(_softmax(train_logits), train.labels, _softmax(logits), held_out.labels)
    found = CheckUp(
        teacher=teacher.name,
        held_out=held_out.name,
        examples=len(logits),
        top1=float(right.mean()),
        entropy=_entropy(logits),
        train_examples=len(train_logits),
        train_agreement=float((train_logits.argmax(axis=1) == train.labels).mean()),
        train_entropy=_entropy(train_logits),
        images_per_second=timed / (seconds + train_seconds) if timed else None,
        memory_mib=teacher.loaded_mib + max(0.0, resident_mib() - before),
        top1_by_range=None
        if by_range is None
        else {name: float(hits.mean()) for name, hits in by_range.items()},
        input=spec.input,
        class_order=None if order is None else _names_by_output(order, label_names),
    )
    warnings: Iterable[str | None] = (
        _about_range(found, spec, by_range, range_known=range_known)
        or _about_order(found, order, logits, held_out.labels)
        or _about_chance(found, len(label_names)),
        _about_labels(found) if hard else None,
        _about_baseline(found, baseline),
    )
    return replace(found, warnings=tuple(text for text in warnings if text))


def better_order(
    probabilities: np.ndarray,
    labels: np.ndarray,
    other_probabilities: np.ndarray,
    other_labels: np.ndarray,
) -> np.ndarray | None:
    """For each class of the data set, the output that seems to mean it, if that differs.

    The order that gives the labels of some images the largest mean probability (an assignment;
    Kuhn 1955) must predict the labels of other images significantly better than the order as it
    is: with many classes and few images any outputs can be assigned well.

    Args:
        probabilities: (n, K), by which the order is found.
        labels: (n,) of these.
        other_probabilities: (m, K), by which it is judged.
        other_labels: (m,) of these.

    Returns:
        (K,) places among the outputs; None if the order is right, or cannot be told.
    """
    if not np.isfinite(probabilities).all():
        return None  # Training names the images for which a teacher has no answer.
    classes = probabilities.shape[1]
    sums = np.zeros((classes, classes))
    np.add.at(sums, labels, probabilities)
    # Classes without images keep their place, if it is free.
    sums += 1e-6 * np.eye(classes)
    if (sums.argmax(axis=1) == np.arange(classes)).all():
        return None  # No order can give a larger sum, as nearly always.
    from scipy.optimize import linear_sum_assignment  # The only use of SciPy in a training.

    _, order = linear_sum_assignment(sums, maximize=True)
    own = other_probabilities.argmax(axis=1) == other_labels
    ordered = other_probabilities[:, order].argmax(axis=1) == other_labels
    return order if _is_better(ordered, than=own) else None


def _batch(images: np.ndarray) -> tf.Tensor:
    """The first images; the last of too few again and again, so that all batches have one shape."""
    return tf.constant(images[np.minimum(np.arange(_BATCH), len(images) - 1)])


def _traced(teacher: Teacher, image: np.ndarray) -> Teacher:
    """The teacher with its network traced: one of hundreds of small operations waits for Python
    otherwise. One that needs Python, and one that is no Keras model, stays as it is."""
    if teacher.model is None:
        return teacher
    traced = replace(teacher, network=tf.function(teacher.network, autograph=False))
    try:
        traced.logits(_batch(image))
    except Exception:  # Of a stranger's layers; as they are they may do, and if not they say why.
        return teacher
    return traced


def _logits(
    teacher: Teacher, images: np.ndarray, *, stop: Callable[[], bool]
) -> tuple[np.ndarray, float]:
    """(n, K) logits, and the seconds that all but the first batch took."""
    found, began = [], 0.0
    for first in range(0, len(images), _BATCH):
        if stop():
            raise Interrupted("interrupted while a teacher was tried; run the same command again")
        if first == _BATCH:
            began = time.perf_counter()
        found.append(teacher.logits(_batch(images[first:])).numpy())
    seconds = time.perf_counter() - began if began else 0.0
    return np.concatenate(found)[: len(images)], seconds


def _top1_by_range(
    teacher: Teacher, sample: Sample, *, stop: Callable[[], bool]
) -> dict[str, np.ndarray]:
    """By range of pixels, for which images the label is predicted."""
    count = min(_RANGE_EXAMPLES, len(sample.labels))
    rows = np.arange(count) * len(sample.labels) // count  # The sample may be sorted by class.
    images, labels = sample.views[teacher.view][rows], sample.labels[rows]
    right = {}
    for name, scale in INPUT_RANGES.items():
        if name == "imagenet" and teacher.image_shape[2] != 3:
            continue  # Its mean has three channels.
        logits, _ = _logits(replace(teacher, scale=scale), images, stop=stop)
        right[name] = logits.argmax(axis=1) == labels
    return right


def _softmax(logits: np.ndarray) -> np.ndarray:
    return tf.nn.softmax(logits).numpy()


def _entropy(logits: np.ndarray) -> float:
    return float(-np.mean(losses.negative_entropy(tf.constant(logits)).numpy()))


def _is_better(right: np.ndarray, *, than: np.ndarray) -> bool:
    """Whether one way to predict is right more often than another on the same images, and not by
    chance (McNemar 1947)."""
    gained, lost = np.sum(right & ~than), np.sum(than & ~right)
    return bool(
        gained - lost > _CERTAIN * math.sqrt(gained + lost)
        and gained - lost > _WORTH_SAYING * len(right)
    )


def _names_by_output(order: np.ndarray, label_names: Sequence[str]) -> tuple[str, ...]:
    """The class names in the order of the outputs, from the output of each class."""
    return tuple(label_names[int(place)] for place in np.argsort(order))


def _about_range(
    found: CheckUp,
    spec: TeacherSpec,
    by_range: Mapping[str, np.ndarray] | None,
    *,
    range_known: bool,
) -> str | None:
    if by_range is None or spec.input is None:
        return None
    tried = ", ".join(f"{name} {hits.mean():.4f}" for name, hits in by_range.items())
    if not range_known:
        others = [hits for name, hits in by_range.items() if name != spec.input]
        if all(_is_better(by_range[spec.input], than=hits) for hits in others):
            return (
                f"its file does not say which pixel range it expects; input={spec.input} fits "
                f"(top-1 by range: {tried}); add ,input={spec.input}"
            )
        return (
            "its file does not say which pixel range it expects, and it cannot be told from its "
            f"top-1 ({tried}); add ,input=... as its author says"
        )
    best = max(by_range, key=lambda name: by_range[name].mean())
    if best == spec.input or not _is_better(by_range[best], than=by_range[spec.input]):
        return None
    return (
        f"it gets its pixels as input={spec.input}, but input={best} fits better (top-1 by range: "
        f"{tried}); try ,input={best}"
    )


def _about_order(
    found: CheckUp, order: np.ndarray | None, logits: np.ndarray, labels: np.ndarray
) -> str | None:
    if order is None or found.class_order is None:
        return None
    ordered = float((logits[:, order].argmax(axis=1) == labels).mean())
    names = ", ".join(found.class_order[:8]) + (", ..." if len(found.class_order) > 8 else "")
    return (
        f"its classes seem to be in another order: if its outputs mean {names}, its top-1 is "
        f"{ordered:.4f} instead of {found.top1:.4f}; write these names in a file, one a line, and "
        "add ,labels=FILE (std-keras check-teacher with labels_output=FILE writes it)"
    )


def _about_chance(found: CheckUp, classes: int) -> str | None:
    chance = 1 / classes
    noise = _CERTAIN * math.sqrt(chance * (1 - chance) / found.examples)
    if found.top1 > chance + noise:
        return None
    sure = found.entropy < math.log(classes) / 2
    return (
        f"its top-1 of {found.top1:.4f} is no better than guessing among {classes} classes"
        + (", although it is sure of itself" if sure else "")
        + "; its classes are in another order, its pixel range is wrong (input=...), or it was "
        "trained for something else"
    )


def _about_labels(found: CheckUp) -> str | None:
    if found.train_agreement < _SURE_OF_LABELS or found.train_entropy > _SHARP:
        return None
    return (
        f"its predictions for training images are their labels again (agreement "
        f"{found.train_agreement:.4f}, entropy {found.train_entropy:.4f} nats), so hard "
        "distillation teaches nothing new; use distillation=soft with temperature=4 or so, or "
        "images that it has not seen"
    )


def _about_baseline(found: CheckUp, baseline: float | None) -> str | None:
    if baseline is None or found.top1 >= baseline:
        return None
    return (
        f"its top-1 of {found.top1:.4f} is below the {baseline:.4f} of the student without a "
        "teacher; use a better teacher"
    )
