"""The run directory: everything that one run leaves behind, and who may write to it.

config.json        every resolved flag
labels.txt         class names, one a line, in the order of the logits
examples.json      how many examples each part of the data set had, how they were parted, and of
                   a folder its content
teachers.json      what tells its teachers from all others, wherever they are
origin.json        where its first weights are from, if a run started from others
LICENSE            the licence's text of those, if they came with one
architecture.json  the model without weights, as Keras writes it
checkpoints/       everything needed to continue
tensorboard/       train/ and eval/
metrics.jsonl      the same figures, one JSON object a line
evaluations.jsonl  what the evaluator of a cluster found, if there is one
model.keras        the final model (averaged weights if `ema_decay` is on)
best.keras         the best one on the held-out part, if there is such a part
result.json        the final figures
nonfinite_*.npz    the batch of a step that became non-finite, if one did
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from std_keras.config import TrainConfig
from std_keras.errors import DISK_FAULTS, InputError
from std_keras.files.paths import user_path
from std_keras.files.texts import read_text

# File names that are not UTF-8 are written as the terminal shows them.
_UNKNOWN = "backslashreplace"
# What `config.json` of a `.keras` file has.
_KERAS = frozenset(
    ("module", "class_name", "config", "registered_name", "build_config", "compile_config")
)
# What every `result.json` has, of any version.
_RESULT = (
    *("top1", "top5", "head", "weights", "heads"),
    *("parameters", "steps", "epochs", "images_per_second", "train_seconds"),
)
# Bytes below the run directory's folders: ckpt-N_temp/part-00000-of-00001.data-00000-of-00001.
_LONGEST_NAME = 120


class RunDirectory:
    """Paths of one run, and the few files of it that are plain text.

    Args:
        path: the folder; it need not exist yet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = user_path(path)
        self.config_file = self.path / "config.json"
        self.labels_file = self.path / "labels.txt"
        self.examples_file = self.path / "examples.json"
        self.teachers_file = self.path / "teachers.json"
        self.origin_file = self.path / "origin.json"
        self.architecture_file = self.path / "architecture.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.model_file = self.path / "model.keras"
        self.best_model_file = self.path / "best.keras"
        self.result_file = self.path / "result.json"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self._lock: IO[str] | None = None

    def prepare(self, *, flag: str = "model_dir") -> None:
        """Makes the folder and takes it for this process until `release` or the process's end.

        Args:
            flag: the argument that named the folder, for errors.

        Raises:
            InputError: if it cannot be made, or another process is writing to it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / ".lock", "w", encoding="utf-8")
            _check_room_for_names(self.checkpoints)
        except OSError as error:
            if error.errno in DISK_FAULTS:
                raise  # The machine's fault, not the user's.
            raise InputError(
                f"{flag}={self.path} cannot be used as a folder: {error.strerror}"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise InputError(
                f"{flag}={self.path} is in use by another process; wait for it or choose "
                "another folder"
            ) from error

    def release(self) -> None:
        """Lets other processes, and other runs in this one, have the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def nonfinite_batch_file(self, step: int) -> Path:
        """The batch (images, targets) of a step, counted from 1, that became non-finite."""
        return self.path / f"nonfinite_step_{step}.npz"

    def exists(self) -> bool:
        """Whether a run was started here."""
        return self.config_file.is_file()

    def read_config(self) -> TrainConfig:
        """Reads `config.json`.

        Raises:
            InputError: if this is not a run directory or the file is damaged.
        """
        values = self._json(self.config_file)
        # Packed weights have Keras' description of the layers in the same file.
        options = {name: value for name, value in values.items() if name not in _KERAS}
        return TrainConfig.from_mapping(options, source=str(self.config_file))

    def read_labels(self) -> tuple[str, ...]:
        """Reads the class names.

        Raises:
            InputError: if the file is missing or damaged.
        """
        try:
            return tuple(read_text(self.labels_file).splitlines())
        except OSError as error:
            raise InputError(f"{self.labels_file} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{self.labels_file} is damaged: {error}") from error

    def read_result(self) -> dict[str, Any]:
        """Reads `result.json`.

        Raises:
            InputError: if the run is not finished, or the file is damaged.
        """
        result = self._json(self.result_file)
        missing = [name for name in _RESULT if name not in result]
        if missing:
            raise InputError(f"{self.result_file} is damaged: it lacks {', '.join(missing)}")
        return result

    def write_start(
        self,
        config: TrainConfig,
        *,
        label_names: Sequence[str],
        architecture: str,
        examples: Mapping[str, Any] | None = None,
        teachers: Sequence[Mapping[str, str]] = (),
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes what is known when a run begins; the configuration last, for it marks a run."""
        if teachers:
            write_atomically(self.teachers_file, json.dumps([*map(dict, teachers)]) + "\n")
        if origin is not None:
            write_atomically(self.origin_file, json.dumps(dict(origin), indent=2) + "\n")
        if examples is not None:
            write_atomically(self.examples_file, json.dumps(dict(examples)) + "\n")
        write_atomically(self.architecture_file, architecture)
        write_atomically(self.labels_file, "".join(f"{name}\n" for name in label_names))
        write_atomically(self.config_file, config.to_json())

    def read_examples(self) -> dict[str, Any] | None:
        """How many examples each part of the data set had, see `stratified`; None for an older run.

        Raises:
            InputError: if the file is damaged.
        """
        return self._json(self.examples_file) if self.examples_file.exists() else None

    def read_teachers(self) -> list[dict[str, str]]:
        """What tells the teachers from all others, in their order; nothing for an older run.

        Raises:
            InputError: if the file is damaged.
        """
        return self._json(self.teachers_file, list) if self.teachers_file.exists() else []

    def read_origin(self) -> dict[str, Any] | None:
        """Where the first weights are from; None for new ones, and for an older run.

        Raises:
            InputError: if the file is damaged.
        """
        return self._json(self.origin_file) if self.origin_file.exists() else None

    def stratified(self) -> bool:
        """Whether the validation part has the same fraction of every class, as in new runs.

        Raises:
            InputError: if `examples.json` is damaged.
        """
        return not self.exists() or bool((self.read_examples() or {}).get("stratified"))

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Writes the final figures."""
        write_atomically(self.result_file, json.dumps(result, indent=2) + "\n")

    def _json(self, path: Path, kind: type[dict] | type[list] = dict) -> Any:
        try:
            value = json.loads(read_text(path))
        except OSError as error:
            raise InputError(
                f"{self.path} is not a finished run directory: {path.name} cannot be read "
                f"({error.strerror})"
            ) from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} is damaged: {error}") from error
        if not isinstance(value, kind):
            raise InputError(f"{path} is damaged: it does not hold a JSON {_JSON_NAMES[kind]}")
        return value


_JSON_NAMES: dict[type, str] = {dict: "object", list: "array"}


def _check_room_for_names(folder: Path) -> None:
    """Raises the OSError now that the longest name in the folder would raise when it is written."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.stat(folder / ("x" * _LONGEST_NAME))


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file so that a reader or a crash never sees half of it."""
    replace_atomically(path, lambda part: part.write_text(text, encoding="utf-8", errors=_UNKNOWN))


def replace_atomically(path: Path, write: Any) -> None:
    """Calls `write(temporary path)`, then puts the file in place of `path`.

    The temporary name keeps the suffix, because Keras tells formats apart by it.
    """
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        write(part)
        with open(part, "rb") as written:
            os.fsync(written.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
