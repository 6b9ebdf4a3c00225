"""Tries a classifier's file in a process of its own, which may take only so much memory and time.

A file from a stranger may ask for an array of any size, for a loop without end, or break the
runtime; all of these end the other process and not this one.
"""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from std_keras.errors import InputError
from std_keras.files.whole_file import machine_memory
from std_keras.runtimes.image_file import ImageInput

_MEMORY = 4 << 30  # Bytes, besides the file's own; for libraries, threads and activations.
_COPIES = 6  # Of the file: as bytes, as a graph, and as weights laid out for the processor.
_SECONDS = 300  # Of processor time, for one batch.
_MARK = "trial:"


@dataclasses.dataclass(frozen=True)
class Trial:
    """What a file says, and what it returns.

    Attributes:
        input: what it takes.
        labels: its class names, if it has any.
        output_shape: of its outputs for `batch` grey images.
        batch: how many images that were.
    """

    input: ImageInput
    labels: tuple[str, ...] | None
    output_shape: tuple[int, ...]
    batch: int


def tried(
    path: Path,
    *,
    name: str,
    size: tuple[int, int, int],
    layout: str | None = None,
    output: str | None = None,
    memory: int = _MEMORY,
) -> Trial:
    """Loads a file and classifies grey images with it, in another process.

    Args:
        path: the file.
        name: what errors call it.
        size: (H, W, C) of the images where the file leaves them open.
        layout: of its input, where the file leaves it open.
        output: see `OnnxFile`.
        memory: bytes that it may take, besides six times those of the file.

    Raises:
        InputError: if it cannot be loaded or run, or takes more than it may.
    """
    asked = {"path": str(path), "name": name, "size": size, "layout": layout, "output": output}
    limit = min(memory + _COPIES * _bytes_beside(path), machine_memory())
    arguments = (json.dumps(asked), str(limit), str(_SECONDS))
    ended = subprocess.run(
        [sys.executable, "-m", "std_keras.runtimes.trial", *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    answer = [line for line in ended.stdout.splitlines() if line.startswith(_MARK)]
    if not answer:
        raise InputError(f"{name} {_why(ended.returncode, ended.stderr, limit)}")
    found = json.loads(answer[-1].removeprefix(_MARK))
    if "error" in found:
        raise InputError(found["error"])
    labels = found["labels"]
    own = found["input"] | {"shape": tuple(found["input"]["shape"])}
    return Trial(
        input=ImageInput(**own),
        labels=None if labels is None else tuple(labels),
        output_shape=tuple(found["output_shape"]),
        batch=found["batch"],
    )


def _bytes_beside(path: Path) -> int:
    """Of the file, and of those beside it that bear its name (`teacher.onnx.data`)."""
    return sum(
        p.stat().st_size for p in path.parent.glob(f"{glob.escape(path.stem)}*") if p.is_file()
    )


def _is_about_memory(text: str) -> bool:
    words = ("memoryerror", "bad_alloc", "cannot allocate", "failed to allocate")
    return any(word in text.lower() for word in words)


def _why(code: int, errors: str, limit: int) -> str:
    """How the other process ended, in words that follow the file's name."""
    if _is_about_memory(errors):
        return f"asks for more than {limit >> 20:,} MiB of memory; it is not used"
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"does not classify one batch in {_SECONDS} s of processor time; it is not used"
    if code < 0:
        return (
            f"breaks the runtime that loads it ({signal.Signals(-code).name}); it is damaged or "
            "hostile, and is not used"
        )
    last = errors.strip().splitlines()[-1:] or ["no word"]
    return f"cannot be tried: {last[0][:300]}"


def _limit(what: int, soft: int, hard: int) -> None:
    """Sets a limit, or leaves a lower one that whoever started us has set."""
    highest = resource.getrlimit(what)[1]
    if highest != resource.RLIM_INFINITY:
        soft, hard = min(soft, highest), min(hard, highest)
    resource.setrlimit(what, (soft, hard))


def _main(asked: dict[str, Any], limit: int, seconds: int) -> dict[str, Any]:
    """The other process."""
    _limit(resource.RLIMIT_AS, limit, limit)
    _limit(resource.RLIMIT_CPU, seconds, seconds + 5)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from std_keras.runtimes.predictor import open_file

    name = asked["name"]
    try:
        file = open_file(Path(asked["path"]), name=name, output=asked["output"])
        own = file.input
        layout = own.layout or asked["layout"]
        found = {"input": dataclasses.asdict(own), "labels": file.labels}
        batch = own.batch or 2  # One alone would hide a file that mixes the images of a batch.
        if layout is None:  # Asked for by whoever wants to know.
            return found | {"output_shape": (), "batch": batch}
        shape = [a or b for a, b in zip(own.image_shape(layout), asked["size"], strict=True)]
        images = np.full((batch, *shape), 0.5, np.float32)
        try:
            outputs = file.run(own.encoded(images, layout=layout))
        except RuntimeError as error:
            if _is_about_memory(str(error)):
                raise MemoryError from error
            return {"error": f"{name} fails on {batch} image(s) of shape {tuple(shape)}: {error}"}
        if outputs.ndim == 0 or len(outputs) != batch:
            return {
                "error": f"{name} returns an array of shape {outputs.shape} for {batch} images; it "
                "must return one row for each: export it with a batch of any size"
            }
        return found | {"output_shape": outputs.shape, "batch": batch}
    except InputError as error:
        if not _is_about_memory(str(error)):
            return {"error": str(error)}
        return {"error": f"{name} {_why(0, 'MemoryError', limit)}"}
    except MemoryError:
        return {"error": f"{name} {_why(0, 'MemoryError', limit)}"}


if __name__ == "__main__":
    print(_MARK + json.dumps(_main(json.loads(sys.argv[1]), *map(int, sys.argv[2:]))))
