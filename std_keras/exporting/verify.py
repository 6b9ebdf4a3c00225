"""Runs a TFLite file as a phone would, one image at a time on one thread, and measures it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from std_keras import quiet
from std_keras.data.source import Progress, no_progress
from std_keras.errors import InputError, Interrupted, reason_of

WARM_UP_RUNS = 10
TIMED_RUNS = 50  # At least this many; with fewer images they are repeated.


@dataclass(frozen=True)
class FileRun:
    """What a file returned.

    Attributes:
        logits: (n, num_classes) float32.
        latency_ms: median time of one inference in milliseconds; without the warm-up, and without
            copying the image in and the logits out.
    """

    logits: np.ndarray
    latency_ms: float


def run_file(
    content: bytes | Path,
    *,
    images: np.ndarray,
    name: str = "the TFLite file",
    num_threads: int = 1,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = no_progress,
) -> FileRun:
    """Runs a TFLite file over images with the LiteRT interpreter.

    Args:
        content: the file, or what is in it; with one input (1, H, W, C) and one output
            (1, num_classes).
        images: (n, H, W, C) uint8, n at least 1.
        name: what errors call it.
        num_threads: of the interpreter.
        stop: asked between images; once true, the run ends.
        progress: wraps the loop over images.

    Raises:
        InputError: the file is damaged, or does not take such images.
        Interrupted: because of `stop`.
    """
    if not len(images):
        raise ValueError("images is empty; at least one image is needed")
    interpreter = _load(content, name=name, num_threads=num_threads)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or tuple(inputs[0]["shape"]) != (1, *images.shape[1:]):
        shapes = [tuple(int(size) for size in one["shape"]) for one in inputs]
        raise InputError(
            f"{name} takes inputs of shape {shapes}, the images need {(1, *images.shape[1:])}"
        )
    images = images.astype(inputs[0]["dtype"], copy=False)
    to, of = inputs[0]["index"], outputs[0]["index"]
    logits = np.empty((len(images), outputs[0]["shape"][-1]), np.float32)

    interpreter.set_tensor(to, images[:1])
    for _ in range(WARM_UP_RUNS):
        interpreter.invoke()
    runs = max(TIMED_RUNS, len(images))
    seconds = np.empty(runs)
    for run in progress(range(runs), total=runs, what=f"running {name}"):
        if stop():
            raise Interrupted(f"interrupted while checking {name}")
        i = run % len(images)
        interpreter.set_tensor(to, images[i : i + 1])
        start = time.perf_counter()
        interpreter.invoke()
        seconds[run] = time.perf_counter() - start
        logits[i] = interpreter.get_tensor(of)[0]
    return FileRun(logits=logits, latency_ms=float(np.median(seconds)) * 1e3)


def time_file(content: bytes, *, image: np.ndarray | None = None, num_threads: int) -> float:
    """Median milliseconds of one inference, as `FileRun.latency_ms`, on a number of threads.

    Args:
        content: see `run_file`.
        image: (H, W, C) uint8; random pixels if None.
        num_threads: of the interpreter.

    Raises:
        InputError: the file is damaged, or does not take such images.
    """
    if image is None:
        given = _load(content, name="the TFLite file", num_threads=1).get_input_details()[0]
        image = np.random.default_rng(0).integers(0, 256, tuple(given["shape"][1:]), np.uint8)
    run = run_file(content, images=image[np.newaxis], num_threads=num_threads)
    return run.latency_ms


def xnnpack_partitions(content: bytes) -> int:
    """Into how many parts XNNPACK, the runtime of a phone's processor, takes the file.

    1 is best: nothing is handed back and forth. 0 if it takes none.
    """
    interpreter = _load(content, name="the TFLite file", num_threads=1)
    return sum(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details())


def top1(logits: np.ndarray, labels: np.ndarray) -> float:
    """The fraction of examples whose largest logit is the label's; a row with a NaN is wrong."""
    right = np.argmax(logits, axis=-1) == labels
    return float(np.mean(right & np.isfinite(logits).all(axis=-1)))


def balanced_accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean over the classes that occur of their own `top1`, whatever their sizes."""
    return float(np.mean([top1(logits[labels == c], labels[labels == c]) for c in set(labels)]))


def largest_difference(logits: np.ndarray, reference: np.ndarray) -> float | None:
    """The largest absolute difference of two arrays of logits; None if one is not finite."""
    if not (np.isfinite(logits).all() and np.isfinite(reference).all()):
        return None
    return float(np.max(np.abs(logits.astype(np.float64) - reference)))


def _load(content: bytes | Path, *, name: str, num_threads: int) -> Interpreter:
    failure: Exception | None = None
    with quiet.muted_stderr():  # It announces its delegates.
        try:
            if isinstance(content, Path):
                content = content.read_bytes()
            interpreter = Interpreter(model_content=content, num_threads=num_threads)
            interpreter.allocate_tensors()
        except (OSError, ValueError, RuntimeError) as error:
            failure = error
    if failure is not None:
        raise InputError(
            f"{name} cannot be loaded as a TFLite file: {reason_of(failure)}"
        ) from failure
    return interpreter
