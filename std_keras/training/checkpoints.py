"""Checkpoints: everything that a continued run needs, the last few of them."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import keras
import tensorflow as tf

from std_keras import progress
from std_keras.errors import InputError, MachineError, reason_of
from std_keras.files.paths import plain_path
from std_keras.training.state import TrainState
from std_keras.training.strategy import in_cluster, lost_worker_errors

# What TensorFlow raises for a file that is cut off, altered, or of another model.
_DAMAGED = (AssertionError, ValueError, IndexError, tf.errors.OpError)


class Checkpoints:
    """Saves and restores the whole state of training.

    Create it inside the strategy's scope.

    Args:
        directory: where the checkpoints are.
        state: what training changes.
        keep: how many are kept.
        chief: whether this process is the one that writes to `directory`; the other workers of a
            cluster each write to a scratch folder, because saving is a collective operation.
        worker: which one this is; no two write to one folder.
    """

    def __init__(
        self,
        directory: Path,
        state: TrainState,
        *,
        keep: int,
        chief: bool = True,
        worker: int = 0,
    ) -> None:
        self.directory = directory
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self._best = tf.Variable(-1.0, dtype=tf.float64, trainable=False, name="best")
        self._seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="seconds")
        parts = {
            f.name: getattr(state, f.name)
            for f in dataclasses.fields(state)
            if f.name not in ("model", "outputs", "token_sets", "critics")
            and getattr(state, f.name) is not None
        }
        parts["weights"] = _weights(state.model)
        # The critics by number, so that a checkpoint does not depend on Python lists.
        parts |= {f"critic_{i}": critic for i, critic in enumerate(state.critics)}
        self._checkpoint = tf.train.Checkpoint(
            step=self._step, best=self._best, seconds=self._seconds, **parts
        )
        own = directory if chief else directory / "scratch" / str(worker)
        if not _listed(own):
            (own / "checkpoint").unlink(
                missing_ok=True
            )  # A damaged list; the manager chokes on it.
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, directory=plain_path(own), max_to_keep=keep
        )
        self._saved: tuple[int, float] | None = None

    @property
    def best(self) -> float:
        """The best score on the held-out part so far (see `best_by`), or -1."""
        return float(self._best.numpy())

    @best.setter
    def best(self, value: float) -> None:
        self._best.assign(value)

    @property
    def seconds(self) -> float:
        """Training time up to the restored checkpoint."""
        return float(self._seconds.numpy())

    @property
    def latest(self) -> str | None:
        """The newest checkpoint, if there is one."""
        return newest_checkpoint(self.directory)

    def restore(self) -> int:
        """Loads the newest intact checkpoint and returns its step; 0 without checkpoints.

        TensorFlow keeps a checksum of every array and compares it when it reads. A checkpoint that
        fails is named in a warning, and the one before it is taken: the run repeats those steps.

        Raises:
            InputError: if there are checkpoints and none can be restored: all are damaged, or they
                belong to another model.
        """
        first_error: str | None = None
        for path in reversed(known_checkpoints(self.directory)):
            try:
                self._checkpoint.restore(plain_path(path)).assert_consumed()
            except _DAMAGED as error:
                said = reason_of(error)
                first_error = first_error or f"{path}: {said}"
                progress.warn(
                    f"checkpoint {path} cannot be restored ({said}); trying the one before it"
                )
                continue
            step = int(self._step.numpy())
            self._saved = (step, self.best)
            return step
        if first_error is not None:
            raise InputError(
                f"no checkpoint in {self.directory} can be restored ({first_error}); recover the "
                "files from a backup, or start in a new `model_dir`"
            )
        return 0

    def save(self, *, step: int, seconds: float) -> None:
        """Saves the state after `step` steps and `seconds` of training, unless that was done.

        Raises:
            MachineError: if it could not be written; the earlier checkpoints are still there.
            tf.errors.OpError: if another worker of the cluster was lost.
        """
        if self._saved == (step, self.best):
            return  # Writing over a good checkpoint could lose it.
        self._step.assign(step)
        self._seconds.assign(seconds)
        try:
            Path(self._manager.directory).mkdir(parents=True, exist_ok=True)
            self._manager.save(checkpoint_number=step)
        except (OSError, tf.errors.OpError) as error:
            self._remove_part(step)
            # In a cluster all save together, and a worker may be gone: then no disk is at fault.
            if in_cluster(tf.distribute.get_strategy()) and isinstance(error, lost_worker_errors()):
                raise
            raise MachineError(
                f"the checkpoint of step {step} could not be written to {self.directory}: "
                f"{reason_of(error)}; the last good one is {self.latest or 'none'}; free "
                "disk space and run the same command to continue"
            ) from error
        self._saved = (step, self.best)

    def _remove_part(self, step: int) -> None:
        """Removes what a failed save left, for it takes the room that the next one needs."""
        for part in self.directory.glob(f"ckpt-{step}.*"):
            part.unlink(missing_ok=True)
        shutil.rmtree(self.directory / f"ckpt-{step}_temp", ignore_errors=True)


def _weights(model: keras.Model) -> list[keras.Variable]:
    """All variables of a model, for a checkpoint.

    Not the model itself: TensorFlow does not look into the lists of layers that a layer holds, and
    would leave their weights out without a word.
    """
    return list(model.variables)


def newest_checkpoint(directory: Path) -> str | None:
    """The newest checkpoint that is there, if there is one."""
    known = known_checkpoints(directory)
    return known[-1] if known else None


def known_checkpoints(directory: Path) -> list[str]:
    """The checkpoints that are there, oldest first.

    `tf.train.latest_checkpoint` knows one name only, and finds nothing once that one was removed.
    """
    known = _listed(directory)
    if not known:  # The list is lost: rather an old checkpoint than a silent new start.
        steps = [path.stem.removeprefix("ckpt-") for path in directory.glob("ckpt-*.index")]
        known = [str(directory / f"ckpt-{n}") for n in sorted(map(int, filter(str.isdigit, steps)))]
    return [path for path in known if Path(f"{path}.index").is_file()]


def _listed(directory: Path) -> list[str]:
    """The complete checkpoints, oldest first, by the list that TensorFlow keeps beside them."""
    try:
        state = tf.train.get_checkpoint_state(plain_path(directory))
    except ValueError:
        return []
    known = state.all_model_checkpoint_paths if state else ()
    return [str(directory / Path(path).name) for path in known]


def checkpoint_steps(directory: Path) -> tuple[int, ...]:
    """The steps of the checkpoints that are there, in order."""
    return tuple(int(path.rpartition("-")[2]) for path in known_checkpoints(directory))


def restore_weights(
    directory: Path, *, model: keras.Model, average: tf.Module | None, at: int | None = None
) -> int:
    """Loads only the weights of one checkpoint, to look at a run.

    Args:
        directory: the run's checkpoints.
        model: gets the raw weights.
        average: gets their moving average, if the run has one.
        at: the step of the checkpoint; the newest if None.

    Returns:
        The step.

    Raises:
        InputError: if there is no checkpoint, or it cannot be read.
    """
    known = known_checkpoints(directory) if at is None else [str(directory / f"ckpt-{at}")]
    if not known:
        raise InputError(f"{directory} holds no checkpoint; train first")
    step = tf.Variable(0, dtype=tf.int64)
    parts = {"weights": _weights(model), "step": step}
    if average is not None:
        parts["average"] = average
    first_error: str | None = None
    for path in reversed(known):
        try:
            status = tf.train.Checkpoint(**parts).restore(plain_path(path))
            status.expect_partial().assert_existing_objects_matched()
            return int(step.numpy())
        except _DAMAGED as error:
            first_error = first_error or f"{path}: {reason_of(error)}"
            progress.warn(
                f"checkpoint {path} cannot be read ({reason_of(error)}); trying the one before it"
            )
    raise InputError(f"no checkpoint in {directory} can be read ({first_error})")
