"""What classifiers say about the same images: the logits of every head of every model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from std_keras import models
from std_keras.data.views import IMAGES
from std_keras.errors import Interrupted
from std_keras.files.paths import user_path
from std_keras.files.texts import as_utf8
from std_keras.teachers import Teacher
from std_keras.teachers.spec import source_of


@dataclass(frozen=True)
class Classifier:
    """A trained model with all its heads.

    Attributes:
        name: short, for tables and pictures.
        prefix: what stands before the names of its heads, if it has several.
        heads: the single heads, and what they say together if there are several.
        inputs: images (B, H, W, C) of 0..255 -> what the model takes.
        predict: what the model takes -> logits (B, K) float32 by head.
        model: the Keras model, if it is one.
        view: the tensor of a batch that it looks at, see `Teacher`.
    """

    name: str
    prefix: str
    heads: tuple[str, ...]
    inputs: Callable[[tf.Tensor], tf.Tensor]
    predict: Callable[[tf.Tensor], Mapping[str, tf.Tensor]]
    model: keras.Model | None
    view: str = IMAGES

    @property
    def main_head(self) -> str:
        """The head with which the model itself answers."""
        return "average" if "average" in self.heads else self.heads[0]

    def label(self, head: str) -> str:
        """Name of a head beside those of other models."""
        return self.name if len(self.heads) == 1 else f"{self.prefix}{head}"


def of_model(model: keras.Model, *, name: str, prefix: str = "") -> Classifier:
    """A classifier from a model of this package, which takes pixels of 0..255."""
    heads = models.head_names(model)
    if len(heads) > 1:
        # With one distillation head the other combinations repeat these.
        heads += ("average",) if len(heads) == 2 else ("average", "confidence")
    outputs = models.heads_model(model)

    def predict(images: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = outputs(images, training=False)
        return {head: tf.cast(logits[head], tf.float32) for head in heads}

    return Classifier(
        name=name,
        prefix=prefix,
        heads=heads,
        inputs=lambda images: tf.cast(images, tf.float32),
        predict=predict,
        model=model,
    )


def of_teacher(teacher: Teacher, *, name: str) -> Classifier:
    """A classifier from a teacher; one that is a student of this package shows all its heads."""
    if teacher.model is not None and len(models.head_names(teacher.model)) > 1:
        student = of_model(teacher.model, name=name, prefix=f"{name}: ")
        return dataclasses.replace(student, inputs=teacher.inputs, view=teacher.view)
    return Classifier(
        name=name,
        prefix="",
        heads=("classification",),
        inputs=teacher.inputs,
        predict=lambda inputs: {"classification": teacher.classify(inputs)},
        model=teacher.model,
        view=teacher.view,
    )


@dataclass(frozen=True)
class Predictions:
    """Logits of the same n images.

    Attributes:
        labels: (n,) true classes.
        logits: (n, K) float32 by the label of a head (see `Classifier.label`).
    """

    labels: np.ndarray
    logits: dict[str, np.ndarray]

    @property
    def size(self) -> int:
        return len(self.labels)

    def decisions(self) -> np.ndarray:
        """(heads, n) top classes, in the order of `logits`."""
        return np.stack([values.argmax(axis=1) for values in self.logits.values()])


def collect(
    classifiers: Sequence[Classifier],
    batches: Iterable[Mapping[str, Any]],
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Predictions:
    """Runs all classifiers over batches of {"images", "labels", "weights"}, and their views.

    Args:
        classifiers: each is compiled once.
        batches: as `data.evaluation_batches` makes them; examples of weight 0 are left out.
        stop: asked between batches; once true, the work ends.

    Raises:
        Interrupted: because of `stop`.
    """
    compiled = [tf.function(lambda images, c=c: c.predict(c.inputs(images))) for c in classifiers]
    labels: list[np.ndarray] = []
    logits: dict[str, list[np.ndarray]] = {c.label(h): [] for c in classifiers for h in c.heads}
    for batch in batches:
        if stop():
            raise Interrupted("interrupted; nothing was written")
        kept = np.asarray(batch["weights"]) > 0
        labels.append(np.asarray(batch["labels"])[kept])
        for classifier, function in zip(classifiers, compiled, strict=True):
            for head, values in function(batch[classifier.view]).items():
                logits[classifier.label(head)].append(values.numpy()[kept])
    return Predictions(
        labels=np.concatenate(labels),
        logits={name: np.concatenate(parts) for name, parts in logits.items()},
    )


def short_names(paths: Sequence[str]) -> list[str]:
    """Names for models by the last part of their path, longer ones where two would be the same."""
    parts = [user_path(source_of(p).removeprefix("keras:")).absolute().parts or (p,) for p in paths]
    for length in range(1, max(len(p) for p in parts) + 1):
        names = [as_utf8("/".join(p[-length:])) for p in parts]
        if len(set(names)) == len(set(parts)):
            break
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:  # The same model twice.
            names[index] = f"{name} ({seen[name]})"
    return names
