"""Makes a run directory of a model that was not trained here."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from std_keras import models
from std_keras.config import TrainConfig
from std_keras.errors import InputError
from std_keras.files.paths import user_path
from std_keras.files.texts import read_text
from std_keras.runs.run_directory import RunDirectory, replace_atomically


def check_output(path: str | Path) -> RunDirectory:
    """Rejects a folder that is not empty, before the slow part.

    Raises:
        InputError: if it cannot be used.
    """
    run = RunDirectory(path)
    try:
        occupied = run.path.is_dir() and any(p.name != ".lock" for p in run.path.iterdir())
    except OSError as error:
        raise InputError(f"output={run.path} cannot be read: {error.strerror}") from error
    if occupied or (run.path.exists() and not run.path.is_dir()):
        raise InputError(f"output={run.path} is not an empty folder; name a new one")
    return run


def write_run(
    run: RunDirectory,
    *,
    model: keras.Model,
    config: TrainConfig,
    label_names: Sequence[str],
    origin: Mapping[str, Any],
    examples: Mapping[str, Any] | None = None,
) -> None:
    """Writes everything that evaluate, export and teachers read.

    Args:
        run: the folder, made if it is not there.
        model: with its weights.
        config: what describes the model and, if known, its data set; `dataset` is "" if not.
        label_names: class names in the order of the logits.
        origin: where the weights are from; `result.json` gets it under "origin", instead of the
            metrics that training would have measured.
        examples: how many each part of its data set has, see `RunDirectory.read_examples`.

    Raises:
        InputError: if the folder cannot be written.
    """
    run.prepare(flag="output")
    try:
        replace_atomically(run.model_file, lambda path: _save(model, path))
        heads = models.head_names(model)
        result = {
            "top1": None,
            "top5": None,
            "head": "average" if len(heads) > 1 else heads[0],
            "weights": "raw",
            "heads": {},
            "parameters": models.trainable_parameters(model),
            "steps": 0,
            "epochs": 0,
            "images_per_second": None,
            "train_seconds": 0.0,
            "origin": dict(origin),
        }
        run.write_result(result)
        run.write_start(
            config, label_names=label_names, architecture=model.to_json(), examples=examples
        )
    finally:
        run.release()


def _save(model: keras.Model, path: Path) -> None:
    """Saves a model so that the same weights give the same bytes, whenever and wherever.

    Cached predictions go by the checksum of their teacher's file, and a teacher of the hub is
    converted on every machine.
    """
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(contents["metadata.json"]) | {"date_saved": "1980-01-01@00:00:00"}
    contents["metadata.json"] = json.dumps(about).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content)


def read_label_names(path: str | Path | None, *, num_classes: int) -> tuple[str, ...]:
    """Class names from a file, one a line; without a file the numbers from 0.

    Raises:
        InputError: if the file cannot be read or has another number of names.
    """
    if path is None:
        return tuple(str(index) for index in range(num_classes))
    file = user_path(path)
    try:
        names = tuple(read_text(file).splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"labels={file} cannot be read as text: {error}") from error
    while len(names) > num_classes and not names[-1].strip():
        names = names[:-1]  # Empty lines at the end.
    if len(names) != num_classes:
        raise InputError(
            f"labels={file} has {len(names)} lines, the model has {num_classes} classes; write "
            "one name per line, in the order of the logits"
        )
    return names
