"""What a sweep records of each run, so that it can be continued."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from std_keras.config import TrainConfig, differing_options, resolve, with_model_of
from std_keras.errors import InputError
from std_keras.research.sweeps.plan import Run
from std_keras.runs.run_directory import RunDirectory, write_atomically


@dataclass(frozen=True)
class Record:
    """One run's history.

    Attributes:
        config: the flags that it was started with.
        state: `started`, `done` or `failed`.
        exit_code: of the training program when it last ended; negative for a signal.
        error: its last words, if it failed.
        seconds: how long the training program ran, over all sittings.
        machine: what `machine.describe` says; several values, in order, if they changed.
    """

    config: dict[str, Any] = field(default_factory=dict)
    state: str = "started"
    exit_code: int = 0
    error: str = ""
    seconds: float = 0.0
    machine: dict[str, str] = field(default_factory=dict)

    def ended(self, *, exit_code: int, error: str, seconds: float, finished: bool) -> Record:
        """The record after the program ended."""
        state = "done" if finished else "started" if exit_code == 75 else "failed"
        return dataclasses.replace(
            self,
            state=state,
            exit_code=exit_code,
            error="" if finished else error,
            seconds=self.seconds + seconds,
        )

    def continued(self, run: Run, *, machine: dict[str, str]) -> Record:
        """The record at the start of a sitting."""
        both = {
            name: _joined(self.machine.get(name, ""), machine.get(name, ""))
            for name in {**self.machine, **machine}
        }
        return Record(config=run.config.flat(), seconds=self.seconds, machine=both)


def read(run: Run) -> Record | None:
    """The record of a run; None if it was never started.

    Raises:
        InputError: if it belongs to a run with other flags, or is damaged.
    """
    try:
        values = json.loads(run.record.read_text(encoding="utf-8"))
        record = Record(**values)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{run.record} is damaged ({error}); delete it") from error
    before = TrainConfig.from_mapping(record.config, source=str(run.record))
    differing = differing_options(before, run.config)
    if differing and not run.is_teacher:
        raise InputError(
            f"{run.record} belongs to a run of {run.name} with other flags "
            f"({'; '.join(differing)}); delete {run.files}*, or choose another `runs_dir`"
        )
    return record


def flags_that_differ(run: Run) -> list[str]:
    """Of a finished run, the flags that shape its result and are not those that were asked for.

    Converted weights have none: no flags made them.

    Raises:
        InputError: if the run directory is damaged.
    """
    directory = RunDirectory(run.model_dir)
    origin = directory.read_result().get("origin") or {}
    if origin and origin.get("kind") != "started":
        return []
    trained = directory.read_config()
    config = run.config
    if config.optimization.initialize_from:
        config = with_model_of(config, trained.model)
    asked = resolve(
        config,
        image_size=trained.data.image_size or 0,
        horizontal_flip=trained.augmentation.horizontal_flip != "no",
    )
    return differing_options(trained, asked)


def write(run: Run, record: Record) -> None:
    """Keeps a record."""
    write_atomically(run.record, json.dumps(dataclasses.asdict(record), indent=2) + "\n")


def is_finished(run: Run) -> bool:
    """Whether the run directory holds a finished run."""
    directory = RunDirectory(run.model_dir)
    return directory.result_file.is_file() and directory.model_file.is_file()


def _joined(old: str, new: str) -> str:
    return old if not new or new in old.split(" + ") else f"{old} + {new}" if old else new
