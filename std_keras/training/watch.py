"""The evaluator of a cluster: evaluates each newest checkpoint of a run while others train it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from std_keras import models, progress
from std_keras.config import TrainConfig
from std_keras.errors import InputError, Interrupted
from std_keras.runs.evaluation import Evaluator
from std_keras.runs.run_directory import RunDirectory
from std_keras.runs.trained import untrained
from std_keras.training import build
from std_keras.training.checkpoints import newest_checkpoint, restore_weights
from std_keras.training.metrics import by_path
from std_keras.training.strategy import create_strategy

_LOOK_SECONDS = 1.0
_LINE_SECONDS = 600.0  # Between lines while nothing comes; the first comes at once.


def evaluate_checkpoints(
    config: TrainConfig, *, run: RunDirectory, stop: Callable[[], bool]
) -> None:
    """Evaluates the newest checkpoint whenever there is one, until the run is finished.

    On the part that the run held out of train, if it did, else on the test split; with the weights
    that `model.keras` will have. The figures go to `evaluations.jsonl` and to
    `tensorboard/evaluator`. Checkpoints that it was too slow for are left out, and those that an
    earlier process evaluated.

    Args:
        config: where the data is, and the size of the batches; all else is the run's own.
        run: the run directory, which need not exist yet. Nothing else in it is touched.
        stop: once true, the waiting or the evaluation ends.

    Raises:
        InputError: if the run's data is not there, or a checkpoint cannot be read.
        Interrupted: because of `stop`.
    """
    strategy = create_strategy("one_device")
    _wait(lambda: run.exists() and _newest(run) > 0, f"{run.path} to have a checkpoint", stop)
    own = run.read_config()
    file = run.path / "evaluations.jsonl"
    done = _last_step(file)
    with strategy.scope():
        model, average = untrained(run)
        dataset = build.data_of_run(
            run.path,
            dataset=None,
            data_dir=config.data.data_dir,
            model=model,
            progress=progress.stoppable(stop),
        )
        part = "test" if dataset.validation is None else "validation"
        heads, head = models.heads_model(model), build.default_head(model)
        evaluator = Evaluator(
            heads,
            source=dataset.test if dataset.validation is None else dataset.validation,
            batch_size=config.performance.evaluation_batch_size or own.optimization.batch_size,
            strategy=strategy,
        )
        events = tf.summary.create_file_writer(str(run.tensorboard / "evaluator"))
        while True:
            newest = _next(run, done, stop)
            if newest is None:
                break
            try:
                done = restore_weights(run.checkpoints, model=model, average=average)
            except InputError:
                if _newest(run) == newest:
                    raise
                continue  # The run removed it meanwhile, for a newer one.
            if average is not None:
                average.copy_to_model()
            found = evaluator.run(stop=stop)
            weights = "raw" if average is None else "ema"
            values = by_path({weights: found})
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"step": done, "split": part, **values}) + "\n")
            with events.as_default(step=done):
                for name, value in values.items():
                    tf.summary.scalar(name, value)
            events.flush()
            progress.say(f"step {done}: {part} top-1 of the {head} head: {found[head].top1:.4f}")
        events.close()
    progress.say(f"{run.path} is finished; all evaluations are in {file}")


def _wait(condition: Callable[[], bool], what: str, stop: Callable[[], bool]) -> None:
    status = progress.Status(every=_LINE_SECONDS)
    try:
        while not condition():
            if stop():
                raise Interrupted(
                    f"interrupted while waiting for {what}; run the same command to go on"
                )
            status.show(f"evaluator: waiting for {what}")
            time.sleep(_LOOK_SECONDS)
    finally:
        status.close()


def _next(run: RunDirectory, done: int, stop: Callable[[], bool]) -> int | None:
    """Waits for a checkpoint after step `done`; None if the run is finished without another."""
    _wait(
        lambda: _newest(run) > done or run.result_file.is_file(),
        f"a checkpoint of {run.path} after step {done}",
        stop,
    )
    newest = _newest(run)
    return newest if newest > done else None


def _newest(run: RunDirectory) -> int:
    """The step of the newest checkpoint; 0 if there is none."""
    path = newest_checkpoint(run.checkpoints)
    return int(path.rpartition("-")[2]) if path else 0


def _last_step(file: Path) -> int:
    """The last step that an earlier process evaluated; 0 if there is none."""
    if not file.is_file():
        return 0
    steps = [0]
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            steps.append(int(json.loads(line)["step"]))
        except (ValueError, KeyError, TypeError):  # The half line of a killed process.
            continue
    return max(steps)
