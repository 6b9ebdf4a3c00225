"""The trained model of a run directory, finished or not."""

from __future__ import annotations

from pathlib import Path

import keras

from std_keras import models
from std_keras.errors import InputError
from std_keras.runs.keras_file import load_keras_file
from std_keras.runs.run_directory import RunDirectory
from std_keras.training.checkpoints import restore_weights
from std_keras.training.ema import WeightAverage


def load_trained(model_dir: str | Path, *, weights: str | None = None) -> keras.Model:
    """Loads a run's model.

    Args:
        model_dir: the run directory.
        weights: `ema` (the moving average), `raw` (as the optimizer left them), or None for those
            in `model.keras`: the average if the run has one. An unfinished run gives those of its
            newest checkpoint.

    Returns:
        The model, whose call gives the logits of its default head.

    Raises:
        InputError: if there is nothing to load, or the run has no such weights.
    """
    run = RunDirectory(model_dir)
    if not run.path.is_dir():
        raise InputError(f"model_dir={run.path}: there is no such directory")
    config = run.read_config()
    averaged = config.optimization.ema_decay > 0
    if weights == "ema" and not averaged:
        raise InputError(
            f"weights=ema: the run {run.path} kept no moving average (ema_decay=0); use weights=raw"
        )
    if run.model_file.is_file() and (weights != "raw" or not averaged):
        return load_keras_file(run.model_file)
    model, average = untrained(run)
    restore_weights(run.checkpoints, model=model, average=average)
    if average is not None and weights != "raw":
        average.copy_to_model()
    return models.without_auxiliaries(model)


def untrained(run: RunDirectory) -> tuple[keras.Model, WeightAverage | None]:
    """The model of a run as it was before training, for a checkpoint to fill.

    Returns:
        The model, and the moving average of its weights if the run keeps one.

    Raises:
        InputError: if the run directory does not describe it.
    """
    try:
        architecture = run.architecture_file.read_text(encoding="utf-8")
        model = keras.models.model_from_json(architecture)
        if not isinstance(model, keras.Model):
            raise ValueError("it holds no model")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"model_dir={run.path}: {run.architecture_file.name} cannot be read: {error}"
        ) from error
    decay = run.read_config().optimization.ema_decay
    return model, WeightAverage(model, decay=decay) if decay else None
