"""Runs an exported TFLite file on pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from std_keras import quiet
from std_keras.errors import InputError, reason_of
from std_keras.exporting.classifying.card import ModelCard
from std_keras.exporting.classifying.picture import center_square
from std_keras.exporting.classifying.self_description import read_description
from std_keras.files.paths import user_path
from std_keras.files.whole_file import UnreadableWholeError, check_whole_file

# TensorFlow Lite crashes where it cannot start thousands. The flag has the same limit.
MOST_THREADS = 256


@dataclass(frozen=True)
class Prediction:
    """One class of an answer.

    Attributes:
        label: its name.
        index: its place among the labels.
        probability: softmax of the logits.
        logit: as the file returned it.
    """

    label: str
    index: int
    probability: float
    logit: float


class Classifier:
    """A TFLite file of this project, ready to run.

    Args:
        path: the file, as `std-keras export` writes it.
        threads: of the interpreter, at most 256.

    Raises:
        InputError: there are too many threads, or the file cannot be read, is not a TFLite
            file, has no metadata, or does not take what it says.
    """

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        if not 1 <= threads <= MOST_THREADS:
            raise InputError(f"threads={threads} must be between 1 and {MOST_THREADS}")
        self._name = name = str(path)
        file = user_path(path)
        if file.is_dir():
            raise InputError(
                f"{name} is a folder; name a .tflite file, such as std-keras export writes of a run"
            )
        try:
            check_whole_file(file)
            content = file.read_bytes()
        except UnreadableWholeError as error:
            raise InputError(f"{name} {error}") from error
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror}") from error
        self.card: ModelCard = read_description(content, name=name)
        self._interpreter = _load(content, name=name, threads=threads)
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        size, classes = self.card.image_size, len(self.card.labels)
        wanted = [(1, size, size, self.card.channels)], [(1, classes)]
        shapes = tuple([tuple(map(int, d["shape"])) for d in ds] for ds in (inputs, outputs))
        types = (inputs[0]["dtype"], outputs[0]["dtype"]) if shapes == wanted else ()
        if not types or types[0] not in (np.uint8, np.float32) or types[1] != np.float32:
            raise InputError(
                f"{name} takes {shapes[0]} and returns {shapes[1]}, but its metadata declares "
                f"uint8 or float32 {wanted[0]} and float32 {wanted[1]}"
            )
        self._input, self._output = inputs[0], outputs[0]

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """(classes,) float32 of one picture (image_size, image_size, channels) uint8.

        Raises:
            InputError: the file fails, or returns values that are not finite.
        """
        batch = pixels[np.newaxis].astype(self._input["dtype"], copy=False)
        self._interpreter.set_tensor(self._input["index"], batch)
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            first = reason_of(error)
            raise InputError(f"{self._name} fails during inference: {first}") from error
        logits = np.array(self._interpreter.get_tensor(self._output["index"])[0])
        if not np.isfinite(logits).all():
            raise InputError(f"{self._name} returned non-finite values; export it again")
        return logits

    def classify(self, image: Image.Image, *, top_k: int = 5) -> list[Prediction]:
        """The `top_k` most probable classes of a picture, as `open_picture` returns it.

        Raises:
            InputError: see `logits`.
        """
        card = self.card
        logits = self.logits(center_square(image, card.image_size, crop_ratio=card.crop_ratio))
        powers = np.exp(logits.astype(np.float64) - logits.max())
        probabilities = powers / powers.sum()
        best = np.argsort(-logits, kind="stable")[:top_k]
        return [
            Prediction(card.labels[i], int(i), float(probabilities[i]), float(logits[i]))
            for i in best
        ]


def _load(content: bytes, *, name: str, threads: int) -> Interpreter:
    failure: Exception | None = None
    with quiet.muted_stderr():  # It announces its delegates.
        try:
            interpreter = Interpreter(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            failure = error
    if failure is not None:
        raise InputError(
            f"{name} cannot be loaded as a TFLite file: {reason_of(failure)}"
        ) from failure
    return interpreter
