"""`std_keras.classify`: what an exported TFLite file sees in pictures; no TensorFlow."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from std_keras import progress
from std_keras.errors import InputError, Interrupted
from std_keras.exporting.classifying.classifier import Classifier, Prediction
from std_keras.files.picture_file import open_picture, upright
from std_keras.files.picture_folder import list_pictures, said_left_out


@dataclass(frozen=True)
class ClassifiedPicture:
    """What a file sees in one picture.

    Attributes:
        image: the picture's path, or the picture itself if that is what was given.
        predictions: the most probable classes, the first the most.
    """

    image: str | Image.Image
    predictions: list[Prediction]

    def as_dict(self) -> dict[str, Any]:
        """The path and the predictions as plain values."""
        return {"image": self.image, "predictions": [vars(one) for one in self.predictions]}


def classify(
    pictures: str | os.PathLike[str] | Image.Image | Sequence[str | os.PathLike[str] | Image.Image],
    *,
    model: str | os.PathLike[str] | Classifier,
    top_k: int = 5,
    threads: int = 1,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[ClassifiedPicture]:
    """Classifies pictures one after the other; each is read when its turn comes.

    Args:
        pictures: one or several: a file that Pillow can read, a folder (all pictures in and below
            it), a pattern such as "photos/*.jpg", or a Pillow image.
        model: a .tflite file that `std_keras.export` wrote, or a `Classifier` of one.
        top_k: how many classes each answer has.
        threads: how many cores the model may use; of no effect with a `Classifier`.
        stop: asked between pictures; once true, it ends.

    Yields:
        An answer for each picture that can be read.

    Raises:
        InputError: at once if the model or an option cannot be used; when its turn comes, if a
            folder or pattern names nothing; and after the last picture, if some cannot be read.
        Interrupted: because `stop()` was true.
    """
    if top_k < 1:
        raise InputError(f"top_k={top_k} must be at least 1")
    if not isinstance(model, Classifier):
        model = Classifier(os.fspath(model), threads=threads)
    if isinstance(pictures, (str, os.PathLike, Image.Image)):
        pictures = [pictures]
    return _classified(model, pictures, top_k=top_k, stop=stop)


def _classified(
    classifier: Classifier,
    pictures: Iterable[str | os.PathLike[str] | Image.Image],
    *,
    top_k: int,
    stop: Callable[[], bool],
) -> Iterator[ClassifiedPicture]:
    seen = 0
    failures: list[str] = []
    for image in _each(pictures):
        if stop():
            raise Interrupted(f"interrupted after {seen} pictures")
        seen += 1
        try:
            opened = _opened(image, channels=classifier.card.channels)
        except InputError as error:
            failures.append(str(error))
            continue
        yield ClassifiedPicture(image, classifier.classify(opened, top_k=top_k))
    if len(failures) == 1:
        raise InputError(failures[0])
    if failures:
        raise InputError(
            f"{len(failures)} of {seen} pictures cannot be classified: " + "; ".join(failures)
        )


def _opened(image: str | Image.Image, *, channels: int) -> Image.Image:
    if isinstance(image, str):
        return open_picture(image, channels=channels)
    return upright(image, channels=channels)


def _each(
    pictures: Iterable[str | os.PathLike[str] | Image.Image],
) -> Iterator[str | Image.Image]:
    """Each picture that is named; a folder's in the order of their names.

    Raises:
        InputError: a folder or pattern names nothing.
    """
    for picture in pictures:
        if isinstance(picture, Image.Image):
            yield picture
            continue
        place = os.fspath(picture)
        if os.path.isdir(place):
            contents = list_pictures(place)
            found = sorted(contents.pictures)
            warning = said_left_out(place, contents.left_out)
            if warning is not None:
                progress.warn(warning)
            if not found:
                raise InputError(f"the folder {place} has no pictures")
            yield from found
        elif not os.path.lexists(place) and glob.has_magic(place):
            found = sorted(glob.glob(place, recursive=True))
            if not found:
                raise InputError(f"the pattern {place} matches no file")
            yield from found
        else:
            yield place  # If it is not there, opening it says so.
