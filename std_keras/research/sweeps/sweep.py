"""`std_keras.sweep`: the runs of a sweep, and the tables of what came out."""

from __future__ import annotations

import fcntl
import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from std_keras import progress
from std_keras.errors import InputError, Interrupted, StdKerasError
from std_keras.programs import installation
from std_keras.research.sweeps import plan, runner
from std_keras.research.sweeps import spec as specs
from std_keras.research.sweeps.estimate import Estimate
from std_keras.research.sweeps.metrics import progress_of
from std_keras.research.sweeps.tables import Tables
from std_keras.runs import machine


class SweepError(StdKerasError):
    """Runs failed; the exit code is that of the first."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Swept:
    """A sweep that is done, or with `dry_run` what it would be.

    Attributes:
        runs: all of them, in the order in which they are made.
        done: the files of those that needed no training when the sweep began.
        output: the table with a row for each run.
        summary: the table of means and spreads over seeds.
        page: both as Markdown.
    """

    runs: tuple[plan.Run, ...]
    done: frozenset[Path]
    output: Path
    summary: Path
    page: Path

    def commands(self) -> str:
        """The commands of all runs, a comment with its name before each."""
        lines = []
        for run in self.runs:
            command = [*plan.arguments_of(run.config), f"--model_dir={run.model_dir}"]
            lines.append(f"# {run.name}{' (done)' if run.files in self.done else ''}")
            lines.append(shlex.join(["std-keras", "train", *command]))
        return "\n".join(lines)


def sweep(
    spec: str | os.PathLike[str],
    *,
    output: str | os.PathLike[str],
    summary: str | os.PathLike[str] | None = None,
    markdown: str | os.PathLike[str] | None = None,
    runs_dir: str | os.PathLike[str] | None = None,
    only: Sequence[str] = (),
    dry_run: bool = False,
    budget_minutes: float = 0.0,
    parallel: int = 1,
    trial_examples: int = 0,
    validation_fraction: float = 0.0,
    data_dir: str | None = None,
    extra_flags: str = "",
    stop: Callable[[], bool] = lambda: False,
) -> Swept:
    """Runs what is missing of a sweep, each training in its own process.

    The same call again goes on where it stopped: what is done is skipped, an interrupted run is
    continued, a failed one is tried again.

    Args:
        spec: a TOML file, see `std_keras.research.sweeps.spec`.
        output: the CSV file to write, one row for each run.
        summary: the CSV file of means and standard deviations; None for one next to `output`.
        markdown: the page; None for one next to `output`.
        runs_dir: where run directories and logs go; None for `runs/` and the name of `output`.
        only: arms to make; all if empty.
        dry_run: whether to train nothing and write nothing.
        budget_minutes: stop after this many minutes, with a checkpoint; 0 for no limit.
        parallel: how many runs are made at once, each on its share of the processor's cores.
        trial_examples: one epoch on this many examples for every run; 0 for the real runs.
        validation_fraction: compare the arms on this part of train, held out, if above 0.
        data_dir: where TFDS keeps its prepared data sets.
        extra_flags: on top of every run, as on a command line.
        stop: asked between runs; once true, the running ones are saved, and it ends.

    Raises:
        InputError: if the file or an option cannot be used.
        SweepError: if runs failed.
        Interrupted: because `stop()` was true, or the minutes are over.
    """
    output = Path(output)
    if output.suffix != ".csv":
        raise InputError(f"output={output} must end in .csv")
    extra = shlex.split(extra_flags) + ([f"--data_dir={data_dir}"] if data_dir else [])
    if "{seed}" in extra_flags:
        raise InputError(
            f"extra_flags={extra_flags!r}: {{seed}} is understood in the sweep's file only; these "
            "flags are the teachers' too"
        )
    choices = plan.Choices(
        runs_dir=Path(runs_dir or Path("runs") / output.stem),
        only=tuple(only),
        validation_fraction=validation_fraction,
        trial_examples=trial_examples,
        extra_flags=tuple(extra),
    )
    shares = runner.shares(parallel) if parallel > 1 else [()]
    found = specs.read(specs.find(os.fspath(spec)))
    runs = plan.runs(found, choices)
    shown = {
        "validation_fraction": validation_fraction,
        "trial_examples": trial_examples,
        "extra_flags": extra_flags,
        "runs_dir": runs_dir,
    }
    tables = Tables(
        found,
        output=output,
        summary_file=Path(summary) if summary else None,
        page=Path(markdown) if markdown else None,
        command=[
            *("std-keras", "sweep", os.fspath(spec), f"--output={output}"),
            *(f"--{name}={value}" for name, value in shown.items() if value),
        ],
    )
    done = {run.files for run in runs if tables.is_done(run)}
    swept = Swept(tuple(runs), frozenset(done), output, tables.summary, tables.page)
    if not dry_run:
        choices.runs_dir.mkdir(parents=True, exist_ok=True)
        with _locked(choices.runs_dir):
            failed = _make(
                runs, done=done, tables=tables, stop=stop, minutes=budget_minutes, shares=shares
            )
        _refuse_failures(failed, len(runs))
    return swept


def _refuse_failures(failed: Sequence[tuple[plan.Run, runner.Outcome]], total: int) -> None:
    if not failed:
        return
    names = ", ".join(run.name for run, _ in failed)
    run, outcome = failed[0]
    raise SweepError(
        f"{len(failed)} of {total} runs failed ({names}): {outcome.error}; see {run.log}; run the "
        "same command to retry",
        # A signal that was not ours, such as that of the kernel when memory runs out.
        exit_code=outcome.exit_code if outcome.exit_code > 0 else 5,
    )


def _make(
    runs: Sequence[plan.Run],
    *,
    done: set[Path],
    tables: Tables,
    stop: Callable[[], bool],
    minutes: float,
    shares: Sequence[tuple[int, ...]],
) -> list[tuple[plan.Run, runner.Outcome]]:
    """Makes the runs that are not done, one on each share of the cores; returns those that
    failed."""
    began = time.monotonic()
    interrupted = 0

    def ending() -> bool:
        late = minutes and time.monotonic() - began > 60 * minutes
        # A run that another process stopped stops the sweep, as if it had been stopped itself.
        return bool(stop() or late or interrupted)

    waiting = [run for run in runs if run.files not in done]
    progress.say(f"{len(runs)} runs, {len(runs) - len(waiting)} of them done")
    tables.write(runs)  # A finished sweep gets its tables again.
    told: set[str] = set()
    _warn_of_twins(tables.twins(runs), told)
    estimate = Estimate(runs, parallel=len(shares))
    status = progress.Status()
    free = list(shares)
    running: list[runner.Training] = []
    failed: list[tuple[plan.Run, runner.Outcome]] = []
    try:
        while running or (waiting and not ending()):
            while free and not ending():
                run = plan.next_ready(waiting, running=[training.run for training in running])
                if run is None:
                    break
                waiting.remove(run)
                # Read each time: the checkout may change while a sweep runs.
                here = machine.describe(installation.checkout())
                running.append(runner.Training(run, machine=here, cores=free.pop(0)))
            if ending():
                for training in running:
                    training.stop()
            parts = [(training.run, progress_of(training.run)) for training in running]
            status.show(estimate.line(parts, waiting))
            runner.wait()
            for training in list(running):
                outcome = training.outcome()
                if outcome is None:
                    continue
                running.remove(training)
                free.append(training.cores)
                run = training.run
                if outcome.exit_code == 75:
                    interrupted += 1
                    continue
                if outcome.exit_code:
                    failed.append((run, outcome))
                    progress.warn(f"{run.name} failed ({outcome.exit_code}): {outcome.error}")
                tables.write(runs)
                progress.say(tables.line(run))
                _warn_of_twins(tables.twins(runs), told)
    finally:
        status.close()
    if waiting or interrupted:
        raise Interrupted(
            f"stopped with {len(waiting) + interrupted} of {len(runs)} runs left; run the same "
            "command to continue"
        )
    return failed


def _warn_of_twins(twins: Mapping[str, tuple[plan.Run, plan.Run]], told: set[str]) -> None:
    """Says once an arm that two seeds are one run: their spread is none of several trainings."""
    for arm, (first, second) in twins.items():
        if arm in told:
            continue
        told.add(arm)
        hint = ""
        if first.config.data.data_seed == second.config.data.data_seed:
            hint = "; write --data_seed={seed} into its flags"
        progress.warn(
            f"{second.name} is the same run as seed {first.seed}: nothing in it depends on the "
            f"seed{hint}"
        )


def _locked(folder: Path) -> IO[str]:
    """Takes the folder for this process.

    Raises:
        InputError: if another sweep has it.
    """
    lock = open(folder / ".lock", "w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise InputError(
            f"runs_dir={folder} is in use by another sweep; wait for it or choose another folder"
        ) from error
    return lock
