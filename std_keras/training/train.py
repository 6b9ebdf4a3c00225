"""`std_keras.train`: from a configuration to a finished run, or the rest of an interrupted one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from std_keras import custom_gradients, progress, quiet
from std_keras.config import TrainConfig, resolve
from std_keras.errors import MachineError, reason_of
from std_keras.runs.run import Run
from std_keras.runs.run_directory import RunDirectory

if TYPE_CHECKING:
    import tensorflow as tf

# TensorFlow is imported when training starts, so that naming `std_keras.train` is cheap.


def train(
    config: TrainConfig,
    *,
    model_dir: str | os.PathLike[str],
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Trains a student, a baseline or a teacher, or continues an interrupted run.

    A finished run is left as it is. In the evaluator of a cluster it evaluates the checkpoints of
    the run while the others train it. `std_keras.progress.configure()` shows progress.

    Args:
        config: the configuration.
        model_dir: the run directory: made, or continued if it exists.
        stop: called between steps; once true, a checkpoint is saved and training ends. Before the
            first step it is called between images that are read and batches that teachers are
            tried on, and then there is nothing to save.

    Returns:
        The finished run.

    Raises:
        InputError: if the configuration, the data or the run directory cannot be used.
        Interrupted: because `stop()` was true; what was trained is saved.
        NonFiniteError: if a loss is NaN or infinite.
        MachineError: if a checkpoint could not be written, or a worker of the cluster was lost
            or did not come.
    """
    run = Run(model_dir)
    directory = run.directory
    quiet.ensure_tensorflow()
    from std_keras.training.strategy import (
        create_strategy,
        in_cluster,
        is_chief,
        lost_worker_errors,
        watched_cluster,
    )
    from std_keras.training.watch import evaluate_checkpoints

    options = config.performance
    if watched_cluster(options.strategy) is not None:
        evaluate_checkpoints(config, run=directory, stop=stop)
        return run
    strategy = create_strategy(
        options.strategy,
        logical_cpus=options.logical_cpus,
        cluster_wait_seconds=options.cluster_wait_seconds,
        stop=stop,
    )
    chief = is_chief(strategy)
    if chief:
        directory.prepare()
    try:
        with contextlib.ExitStack() as starting:  # Until the first step is done.
            starting.enter_context(quiet.without_garbage_collection())
            _train(
                config,
                run=directory,
                strategy=strategy,
                chief=chief,
                stop=stop,
                started=starting.close,
            )
    except lost_worker_errors() as error:
        if not in_cluster(strategy):
            raise
        raise MachineError(
            f"a worker of the cluster was lost or cannot be reached ({reason_of(error)})"
            "; start all workers again with the same command to continue from the last checkpoint"
        ) from error
    finally:
        directory.release()
        custom_gradients.leave_to_their_graphs()
    return run


def _train(
    config: TrainConfig,
    *,
    run: RunDirectory,
    strategy: tf.distribute.Strategy,
    chief: bool,
    stop: Callable[[], bool],
    started: Callable[[], None],
) -> None:
    from std_keras.data import folder_content, summary
    from std_keras.teachers import parse
    from std_keras.teachers.identity import identity
    from std_keras.training import build
    from std_keras.training.assembly import assemble
    from std_keras.training.checks import check_devices, check_same_run, slow_choice
    from std_keras.training.loop import Loop
    from std_keras.training.start import inherited, keep_license, origin_of
    from std_keras.training.strategy import in_cluster, own_signal_handlers

    # A cluster ends after the same step everywhere, or its other processes would take it for lost.
    leaves = (lambda: False) if in_cluster(strategy) else stop
    dataset = build.load_data(
        config, stratified=run.stratified(), progress=progress.stoppable(leaves)
    )
    weighted = config.optimization.class_weights != "none"
    for line in summary.lines(dataset):
        progress.say(line)
    for line in summary.warnings(dataset, weighted=weighted):
        progress.warn(line)
    config = resolve(
        inherited(config, dataset, run),
        image_size=dataset.image_shape[0],
        horizontal_flip=dataset.horizontal_flip,
    )
    check_devices(config, strategy)
    if run.exists():
        check_same_run(run, config, dataset)
        if run.result_file.is_file() and run.model_file.is_file():
            progress.say(f"{run.path} is a finished run; nothing to do")
            return
    slow = slow_choice(config, strategy)
    if slow:
        progress.warn(slow)
    with strategy.scope():
        with own_signal_handlers():
            training = assemble(
                config, dataset, run, strategy=strategy, chief=chief, begin=True, stop=leaves
            )
        if chief and not run.exists():
            keep_license(config, run)
            followed = config.distillation.teachers if config.distillation.uses_teachers else ()
            run.write_start(
                config,
                label_names=dataset.label_names,
                architecture=training.state.model.to_json(),
                examples={
                    **dataset.sizes,
                    "stratified": dataset.stratified,
                    **({"teacher_views": training.view_sizes} if training.view_sizes else {}),
                    **folder_content.facts(config.data.dataset),
                },
                teachers=[identity(parse(t)) for t in followed],
                origin=origin_of(config),
            )
        try:
            Loop(training).run(stop, started=started)
        finally:
            training.writer.close()
