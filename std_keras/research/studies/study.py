"""What every analysis starts from: a run's model, what it is compared with, and the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from std_keras import config as configuration
from std_keras import data, progress, teachers
from std_keras.config import TrainConfig
from std_keras.data import DataSet, Source
from std_keras.data.limit import limited_source
from std_keras.data.source import IndexedSource
from std_keras.errors import InputError
from std_keras.research.analysis import predictions
from std_keras.runs.run_directory import RunDirectory
from std_keras.runs.trained import load_trained
from std_keras.training import build, teacher_views
from std_keras.training.augmentation import create_augmentation
from std_keras.training.checkpoints import restore_weights
from std_keras.weights.located import located


@dataclass(frozen=True)
class Study:
    """A model, others, and data.

    Attributes:
        run: the run directory.
        config: its flags.
        subject: its model.
        others: what it is compared with.
        dataset: the images, in the model's size.
        examples: at most this many of a split; 0 for all.
        batch_size: examples at a time.
        stop: asked between batches.
        view_sizes: of the views that the others look at, besides the model's images.
    """

    run: RunDirectory
    config: TrainConfig
    subject: predictions.Classifier
    others: tuple[predictions.Classifier, ...]
    dataset: DataSet
    examples: int
    batch_size: int
    stop: Callable[[], bool]
    view_sizes: tuple[int, ...] = ()

    @property
    def classifiers(self) -> tuple[predictions.Classifier, ...]:
        return (self.subject, *self.others)

    def described(self, count: int | str, part: str = "test") -> str:
        """One line on what was analysed."""
        against = ", ".join(c.name for c in self.others)
        return (
            f"{self.run.path}" + (f" against {against}" if against else "") + f"; {count} {part} "
            f"images of {self.dataset.name}"
        )

    def source(self, part: str) -> Source:
        """The chosen examples of train or test."""
        return self._first(part, self.examples, flag="examples")

    def to_train_on(self, examples: int | None) -> Source:
        """What `--train_examples` chooses of train."""
        if examples is None:
            return self.source("train")
        return self._first("train", examples, flag="train_examples")

    def _first(self, part: str, examples: int, *, flag: str) -> Source:
        source: Source = getattr(self.dataset, part)
        if not examples or examples >= source.size:
            return source
        if not isinstance(source, IndexedSource):
            raise InputError(
                f"--{flag}={examples}: {self.dataset.name} is too large for memory and is "
                f"read in one pass, without random access; use --{flag}=0"
            )
        return limited_source(source, examples, flag=flag)

    def batches(self, part: str) -> Iterable[Mapping[str, Any]]:
        """Batches of the chosen examples with progress, each example once."""
        source = self.source(part)
        size = min(self.batch_size, source.size)
        batches = data.evaluation_batches(source, batch_size=size, view_sizes=self.view_sizes)
        return progress.track(batches, total=-(-source.size // size), what=f"{part} images")

    def augmented_batches(self) -> Iterable[Mapping[str, Any]]:
        """Batches of training images as the run augmented them, about as many as `batches`."""
        source = self.source("train")
        size = min(self.batch_size, source.size)
        config = configuration.resolve(
            self.config,
            image_size=self.dataset.image_shape[0],
            horizontal_flip=self.dataset.horizontal_flip,
        )
        steps = source.size // size
        batches = data.training_batches(
            source,
            batch_size=size,
            num_classes=self.dataset.num_classes,
            data_seed=config.data.data_seed,
            augmentation=create_augmentation(
                config.augmentation, self.dataset, batch_size=config.optimization.batch_size
            ),
            view_sizes=self.view_sizes,
        ).take(steps)
        for batch in progress.track(batches, total=steps, what="augmented images"):
            labels = np.argmax(batch["targets"], axis=1)
            yield {**batch, "labels": labels, "weights": np.ones(len(labels))}


def open_study(parsed: Mapping[str, Any], *, against: str, stop: Callable[[], bool]) -> Study:
    """Loads what the flags name.

    Args:
        parsed: the flags.
        against: "needed", "optional" or "unused".
        stop: asked between batches.

    Raises:
        InputError: for anything that is not there or does not fit.
    """
    run = RunDirectory(located(parsed["model_dir"], flag="model_dir"))
    model = load_trained(run.path, weights=parsed["weights"])
    config = run.read_config()
    dataset = build.data_of_run(
        run.path,
        dataset=parsed["dataset"],
        data_dir=parsed["data_dir"],
        model=model,
        progress=progress.stoppable(stop),
    )
    texts: tuple[str, ...] = ()
    if against != "unused":
        texts = parsed["against"]
        if not texts and config.distillation.uses_teachers:
            texts = config.distillation.teachers
        if not texts and against == "needed":
            raise InputError(
                f"--against is missing: {run.path} was trained without a teacher; name a model to "
                "compare with, such as the run directory of a teacher"
            )
    names = predictions.short_names([str(run.path), *texts])
    sizes = [teacher_views.view_size(teachers.parse(text), dataset) for text in texts]
    others = tuple(
        _load_other(text, dataset=dataset, name=name, view_size=size)
        for text, name, size in zip(texts, names[1:], sizes, strict=True)
    )
    return Study(
        run=run,
        config=config,
        subject=predictions.of_model(model, name=names[0]),
        others=others,
        dataset=dataset,
        examples=parsed["examples"],
        batch_size=parsed["batch_size"],
        stop=stop,
        view_sizes=teacher_views.larger(sizes, dataset),
    )


def _load_other(
    text: str, *, dataset: DataSet, name: str, view_size: int
) -> predictions.Classifier:
    try:
        teacher = build.load_teacher(teachers.parse(text), dataset, view_size=view_size)
    except InputError as error:
        # The loader of teachers names its own flag.
        raise InputError(str(error).replace("teacher=", "--against=", 1)) from error
    return predictions.of_teacher(teacher, name=name)


def restored(chosen: Study, model: keras.Model, step: int) -> bool:
    """Gives a model the raw weights of one of the run's checkpoints.

    One that cannot be read (of an older version, say) is left out with a warning: what happened
    over training is shown by the others.
    """
    try:
        restore_weights(chosen.run.checkpoints, model=model, average=None, at=step)
    except InputError as error:
        progress.warn(f"left out: {str(error)[:200]}")
        return False
    return True
