"""What a run begins with: a model, new or with another run's weights, and all that goes with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from std_keras import models, progress
from std_keras.config import TrainConfig, with_model_of
from std_keras.config.mine import MineOptions
from std_keras.data import DataSet
from std_keras.errors import InputError
from std_keras.files.texts import normalized
from std_keras.losses import mine
from std_keras.runs import origin
from std_keras.runs.run_directory import RunDirectory
from std_keras.runs.trained import untrained
from std_keras.training import build, optimizers
from std_keras.training.checkpoints import newest_checkpoint
from std_keras.training.ema import WeightAverage
from std_keras.training.matrices import hidden_matrices
from std_keras.training.objectives import own_model
from std_keras.training.rematerialize import rematerialized
from std_keras.training.state import TrainState
from std_keras.training.whitening import whiten_stems
from std_keras.weights.class_names import has_numbers_for_names
from std_keras.weights.initialize import (
    copy_weights,
    find_start,
    inherited_options,
    input_normalization,
)


def inherited(config: TrainConfig, dataset: DataSet, run: RunDirectory) -> TrainConfig:
    """With `initialize_from`, the configuration with the model options that were not given.

    They come from the other run, or, when a run continues, from what it began with.

    Raises:
        InputError: if the other run is not finished, or an option contradicts it.
    """
    name = config.optimization.initialize_from
    if name is None:
        return config
    if run.exists():
        return with_model_of(config, run.read_config().model)
    filled = inherited_options(config, find_start(name), image_size=dataset.image_shape[0])
    before, after = config.flat(), filled.flat()
    taken = [f"{key}={after[key]}" for key in after if before[key] != after[key]]
    if taken:
        progress.say(f"taken from {name}: {', '.join(taken)}")
    return filled


def origin_of(config: TrainConfig) -> dict[str, Any] | None:
    """With `initialize_from`, where the first weights are from, and their licence."""
    name = config.optimization.initialize_from
    if name is None:
        return None
    start = find_start(name)
    return origin.started_from(name, start.run, file=start.file)


def keep_license(config: TrainConfig, run: RunDirectory) -> None:
    """With `initialize_from`, takes the text of that run's licence along, if it has one."""
    if config.optimization.initialize_from is not None:
        start = find_start(config.optimization.initialize_from)
        origin.keep_license(start.run.path, run.path)


def create_model(config: TrainConfig, dataset: DataSet, run: RunDirectory) -> keras.Model:
    """Creates the model, and with `initialize_from` gives it that run's weights.

    The other run's input normalisation is taken over with its weights. Its heads are, if it has
    the same classes. A run that continues gets the same model; its weights come from its
    checkpoint.

    Raises:
        InputError: if the other run is not finished, or its model differs.
    """
    path = config.optimization.initialize_from
    if path is None:
        model = build.build_model(config, dataset)
        whiten_stems(model, dataset.train)
        return model
    if config.model.name not in models.names():
        return _network_from_elsewhere(config, dataset, run, path=path)
    if newest_checkpoint(run.checkpoints) is not None and run.architecture_file.is_file():
        architecture = run.architecture_file.read_text(encoding="utf-8")
        model = build.build_model(config, dataset, normalization=input_normalization(architecture))
        _freeze_batch_norms(model, architecture)
        return model
    start = find_start(path)
    source = start.load()
    if tuple(source.input_shape[3:]) != dataset.image_shape[2:]:
        raise InputError(
            f"initialize_from={path} takes images of {source.input_shape[-1]} channel(s), "
            f"dataset={dataset.name} has {dataset.image_shape[-1]}"
        )
    normalization = input_normalization(source.to_json())
    model = build.build_model(config, dataset, normalization=normalization)
    other_classes = _are_others(start.run, dataset.label_names)
    done = copy_weights(model, source, path=path, new_heads=other_classes)
    _freeze_batch_norms(model, source.to_json())
    progress.say(f"starting from {path}: {done}")
    return model


def _freeze_batch_norms(model: keras.Model, architecture: str) -> None:
    """Fixes the batch normalisations that are fixed in another model, as `teach` leaves them."""
    for layer in json.loads(architecture)["config"]["layers"]:
        if layer["config"].get("trainable", True):
            continue
        for own in model.layers:
            if own.name == layer["name"] and isinstance(own, keras.layers.BatchNormalization):
                own.trainable = False


def _network_from_elsewhere(
    config: TrainConfig, dataset: DataSet, run: RunDirectory, *, path: str
) -> keras.Model:
    """The model of a run that `std_keras.teach` made: it has no name by which it could be built."""
    if config.performance.mixed_precision:
        raise InputError(
            f"mixed_precision=True: {config.model.name}, the model of initialize_from={path}, is "
            "not of this project and keeps its precision; leave it out"
        )
    if newest_checkpoint(run.checkpoints) is not None and run.architecture_file.is_file():
        return untrained(run)[0]
    start = find_start(path)
    model = start.load()
    if tuple(model.input_shape[1:]) != dataset.image_shape:
        raise InputError(
            f"initialize_from={path} takes images of shape {tuple(model.input_shape[1:])}, those "
            f"of dataset={dataset.name} have {dataset.image_shape}; use "
            f"image_size={model.input_shape[1]}"
        )
    if normalized(start.run.read_labels()) != normalized(dataset.label_names):
        raise InputError(
            f"initialize_from={path} has other classes than dataset={dataset.name}; make a new "
            "head with std-keras teach"
        )
    return model


def _are_others(start: RunDirectory, ours: Sequence[str]) -> bool:
    """Whether classes are known to be others.

    The numbers of converted weights without names say nothing, unless ours are numbers too.
    """
    theirs = start.read_labels()
    if has_numbers_for_names(start) and {*theirs} != {*ours}:
        return False
    return normalized(theirs) != normalized(ours)


def create_state(
    config: TrainConfig, dataset: DataSet, schedule: Any, run: RunDirectory
) -> TrainState:
    """Creates what training changes: the model, its optimizer, critics and average.

    Call it inside the strategy's scope.

    Args:
        config: what to train.
        dataset: gives the shape of the images and the classes.
        schedule: the learning rate, called with the step.
        run: the run directory, whose architecture a continued run keeps.

    Raises:
        InputError: see `create_model`.
    """
    model = create_model(config, dataset, run)
    # Where the model has no heads for teachers, what it returns is what learns.
    own_heads = (
        config.distillation.has_student_heads
        or own_model(config.distillation.objective) is not None
    )
    outputs = models.training_model(model, with_teachers=own_heads)
    if config.performance.rematerialize:
        outputs = rematerialized(outputs)
    state = TrainState(
        model=model,
        outputs=outputs,
        optimizer=optimizers.create_optimizer(
            config.optimization,
            learning_rate=schedule,
            variables=model.trainable_variables,
            matrices=hidden_matrices(model),
            iteration_dtype="bfloat16" if config.performance.mixed_precision else None,
        ),
    )
    if config.mine.weight:
        _add_critics(state, config.mine)
    if config.optimization.ema_decay:
        state.average = WeightAverage(model, decay=config.optimization.ema_decay)
    return state


def _add_critics(state: TrainState, options: MineOptions) -> None:
    shapes = {n: o for n, o in state.outputs.output.items() if n.startswith("tokens_")}
    state.token_sets = tuple(shapes)
    # Scores are exponentiated: never below float32.
    precision = str(state.outputs.output["classification"].dtype)
    critics = []
    for pair in shapes.values():
        critic = mine.Critic(dtype=precision)
        critic.build(tuple(pair["spatial"].shape), tuple(pair["channel"].shape))
        critics.append(critic)
    state.critics = critics
    state.log_averages = tf.Variable(
        [mine.NOT_STARTED] * len(critics),
        trainable=False,
        dtype=precision,
        # Every replica assigns the same value.
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        name="log_averages",
    )
    if options.schedule == "step":
        assert options.learning_rate is not None
        state.critic_optimizer = keras.optimizers.Adam(options.learning_rate)
        state.critic_optimizer.build(state.critic_variables)
