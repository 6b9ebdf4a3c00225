"""The model with which a run begins: new, or with the weights of another run."""

from __future__ import annotations

import keras

from std_keras import progress
from std_keras.config import TrainConfig
from std_keras.data import DataSet
from std_keras.errors import InputError
from std_keras.rundir import RunDirectory
from std_keras.training import build
from std_keras.training.checkpoints import newest_checkpoint
from std_keras.weights.initialize import copy_weights, input_normalization, load_start


def create_model(config: TrainConfig, dataset: DataSet, run: RunDirectory) -> keras.Model:
    """Creates the model, and with `config.initialize_from` gives it that run's weights.

    The other run's input normalisation is taken over with its weights. A run that continues gets
    the same model; its weights come from its checkpoint.

    Raises:
        InputError: if the other run is not finished, or its model differs.
    """
    path = config.initialize_from
    if path is None:
        return build.build_model(config, dataset)
    if newest_checkpoint(run.checkpoints) is not None and run.architecture_file.is_file():
        architecture = run.architecture_file.read_text(encoding="utf-8")
        return build.build_model(config, dataset, normalization=input_normalization(architecture))
    source = load_start(path)
    if tuple(source.input_shape[3:]) != dataset.image_shape[2:]:
        raise InputError(
            f"--initialize_from={path} takes images of {source.input_shape[-1]} channel(s), "
            f"--dataset={dataset.name} has {dataset.image_shape[-1]}"
        )
    normalization = input_normalization(source.to_json())
    model = build.build_model(config, dataset, normalization=normalization)
    progress.say(f"starting from {path}: {copy_weights(model, source, path=path)}")
    return model
