"""`std_keras.train`: a configuration becomes a run."""

from __future__ import annotations

import os
from collections.abc import Callable

from std_keras import quiet
from std_keras.config import TrainConfig
from std_keras.runs.run import Run


def train(
    config: TrainConfig,
    *,
    model_dir: str | os.PathLike[str],
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Trains a student, a baseline or a teacher, or continues an interrupted run.

    A finished run is left as it is. `std_keras.progress.configure()` shows how far it is.

    Args:
        config: what to do.
        model_dir: the run directory: made, or continued if it exists.
        stop: asked between steps; once true, a checkpoint is saved and the training ends.

    Returns:
        The finished run.

    Raises:
        InputError: if something asked for cannot be done.
        Interrupted: after a checkpoint was saved because `stop()` was true.
        NonFiniteError: if a loss is NaN or infinite.
        MachineError: if a checkpoint could not be written, or a worker of the cluster was lost.
    """
    run = Run(model_dir)
    quiet.ensure_tensorflow()
    from std_keras import training

    training.train(config, model_dir=run.path, stop=stop)
    return run
