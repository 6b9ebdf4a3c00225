"""Makes the runs of a sweep one after the other, and the tables of what came out.

Usage: std-keras sweep SPEC --output=results/NAME.csv   (--help lists the flags)

The same command again goes on where it stopped: what is done is skipped, an interrupted run is
continued, a failed one is tried again. SPEC is a TOML file;
`std_keras/research/sweeps/spec.py` shows one.
"""

from __future__ import annotations

import fcntl
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from std_keras import progress
from std_keras.config.option import COUNT, DATA, FRACTION, NATURAL, OPTIMIZATION, RUN, Option
from std_keras.errors import InputError, Interrupted, StdKerasError
from std_keras.programs import flags, installation, shared_options
from std_keras.programs.program import StopRequest
from std_keras.research.sweeps import plan, record, rows, runner, spec, summary
from std_keras.research.sweeps.estimate import Estimate
from std_keras.research.sweeps.metrics import progress_of
from std_keras.runs import machine

_OPTIONS = {
    "output": Option(topic=RUN, help="The CSV file to write, one row for each run.", kind=str),
    "summary": Option(
        topic=RUN,
        help="The CSV file of means and spreads over seeds; beside --output if not given.",
        kind=str,
    ),
    "markdown": Option(
        topic=RUN, help="The page made from the rows; beside --output if not given.", kind=str
    ),
    "runs_dir": Option(
        topic=RUN,
        help="Where run directories, logs and teacher labels go; runs/ and the name of --output "
        "if not given.",
        kind=str,
    ),
    "only": Option(
        topic=RUN, help="Arms to make, separated by commas; all if not given.", kind=str
    ),
    "dry_run": Option(topic=RUN, help="List the runs with their commands, and stop.", kind=bool),
    "budget_minutes": Option(
        topic=RUN,
        help="Stop after so many minutes, with the running training saved; 0 for no end.",
        kind=float,
        **NATURAL,
    ),
    "parallel": Option(
        topic=RUN,
        help="How many runs are made at once, each on its share of the processor's cores. Small "
        "models on a CPU: more runs an hour than one after the other on all cores.",
        kind=int,
        **COUNT,
    ),
    "trial_examples": Option(
        topic=DATA,
        help="One epoch on so many examples for every run, teachers too, to see that every command "
        "works; 0 for the real runs.",
        kind=int,
        **NATURAL,
    ),
    "validation_fraction": Option(
        topic=DATA,
        help="Compare the arms on this part of train, held out, instead of the test split.",
        kind=float,
        **FRACTION,
    ),
    "data_dir": shared_options.DATA_DIR,
    "extra_flags": Option(
        topic=OPTIMIZATION,
        help='Flags on top of every run, the teachers\' too, such as "--jit_compile".',
        kind=str,
    ),
}
_DEFAULTS = {
    "dry_run": False,
    "budget_minutes": 0.0,
    "parallel": 1,
    "trial_examples": 0,
    "validation_fraction": 0.0,
}


class SweepError(StdKerasError):
    """Runs failed; the exit code is that of the first."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, makes the runs that are missing, and writes the tables."""
    parsed = flags.parse(
        arguments,
        program="std-keras sweep",
        about="Makes the runs of a sweep one after the other, and tables of the results. The same "
        "command again goes on where it stopped.",
        options=_OPTIONS,
        defaults=_DEFAULTS,
        required=("output",),
        words="SPEC",
        single=True,
    )
    if Path(parsed["output"]).suffix != ".csv":
        raise InputError(f"--output={parsed['output']} must end in .csv")
    output = Path(parsed["output"])
    choices = _choices(parsed)
    parallel = parsed["parallel"]
    shares = runner.shares(parallel) if parallel > 1 else [()]
    sweep = spec.read(spec.find(parsed["SPEC"][0]))
    runs = plan.runs(sweep, choices)
    tables = _Tables(sweep, choices, output=output, parsed=parsed)
    done = {run.files for run in runs if tables.is_done(run)}
    if parsed["dry_run"]:
        _list(runs, done=done)
        return
    choices.runs_dir.mkdir(parents=True, exist_ok=True)
    with _locked(choices.runs_dir):
        failed = _make(
            runs,
            done=done,
            tables=tables,
            stop=stop,
            minutes=parsed["budget_minutes"],
            shares=shares,
        )
    if failed:
        names = ", ".join(run.name for run, _ in failed)
        code = failed[0][1].exit_code
        raise SweepError(
            f"{len(failed)} of {len(runs)} runs failed ({names}): {failed[0][1].error}; see "
            f"{failed[0][0].log}; the same command tries them again",
            # A signal that was not ours, such as that of the kernel when memory runs out.
            exit_code=code if code > 0 else 5,
        )


def _make(
    runs: Sequence[plan.Run],
    *,
    done: set[Path],
    tables: _Tables,
    stop: StopRequest,
    minutes: float,
    shares: Sequence[tuple[int, ...]],
) -> list[tuple[plan.Run, runner.Outcome]]:
    """Makes the runs that are not done, one on each share of the cores; returns those that
    failed."""
    began = time.monotonic()
    interrupted = 0

    def ending() -> bool:
        late = minutes and time.monotonic() - began > 60 * minutes
        # A run that was told to stop by somebody else stops all, as if we had been told.
        return bool(stop or late or interrupted)

    waiting = [run for run in runs if run.files not in done]
    progress.say(f"{len(runs)} runs, {len(runs) - len(waiting)} of them done")
    tables.write(runs)  # A finished sweep gets its tables again.
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
                # Asked each time: somebody may work on the checkout while a sweep runs.
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
    finally:
        status.close()
    if waiting or interrupted:
        raise Interrupted(
            f"stopped with {len(waiting) + interrupted} of {len(runs)} runs left; what was done is "
            "saved, run the same command to continue"
        )
    return failed


class _Tables:
    """The files that the sweep writes, made anew after every run."""

    def __init__(
        self, sweep: spec.Spec, choices: plan.Choices, *, output: Path, parsed: Mapping[str, Any]
    ) -> None:
        self._sweep, self._output = sweep, output
        self._summary = Path(parsed["summary"] or output.with_name(f"{output.stem}_summary.csv"))
        self._page = Path(parsed["markdown"] or output.with_suffix(".md"))
        shown = [f"--output={output}"]
        for name in ("validation_fraction", "trial_examples", "extra_flags"):
            if parsed[name]:
                shown.append(f"--{name}={parsed[name]}")
        self._command = shlex.join(["std-keras", "sweep", *parsed["SPEC"], *shown])
        self._old = {(row["arm"], row["seed"]): row for row in rows.read(output)}

    def is_done(self, run: plan.Run) -> bool:
        """Whether a run needs no training: its directory or its row in the table is there."""
        record.read(run)  # Refuses a run with other flags.
        if record.is_finished(run):
            differing = record.flags_that_differ(run) if run.is_teacher else ()
            if differing:
                progress.warn(
                    f"{run.name}: {run.model_dir} was made with other flags "
                    f"({'; '.join(differing)}), which its row will show; remove it to train anew"
                )
            return True
        row = self._old.get((run.arm, str(run.seed)))
        if row is None or row["state"] != "done":
            return False
        if row["flags"] != run.flags and not run.is_teacher:
            raise InputError(
                f"{self._output} has a row of {run.name} with other flags ({row['flags']}; now "
                f"{run.flags}); remove the row, or choose another --output"
            )
        # A teacher's row does not help the runs that need the teacher.
        return not run.is_teacher

    def write(self, runs: Sequence[plan.Run]) -> None:
        """Writes all files from what there is; rows of runs that are elsewhere are kept."""
        # Read again: another sweep with the same --output may have added rows.
        self._old |= {(row["arm"], row["seed"]): row for row in rows.read(self._output)}
        for run in runs:
            row = rows.row_of(run)
            if row is not None and self._keeps(row):
                self._old[run.arm, str(run.seed)] = row
        if not self._old:
            return
        found = rows.with_differing_options(self._ordered())
        rows.write(self._output, found, command=self._command)
        summary.write(self._summary, summary.summarize(found), source=self._output)
        self._page.parent.mkdir(parents=True, exist_ok=True)
        self._page.write_text(
            summary.markdown(
                found,
                title=self._sweep.title,
                about=self._sweep.about,
                command=self._command,
                source=self._output.name,
            ),
            encoding="utf-8",
        )

    def line(self, run: plan.Run) -> str:
        """What came out of a run, for the log."""
        row = self._old.get((run.arm, str(run.seed)), {})
        if row.get("state") != "done":
            return f"{run.name}: {row.get('state', 'not done')}"
        if not row["top1"]:
            return f"{run.name}: done, its accuracy is not known"
        top1 = 100 * float(row["top1"])
        return f"{run.name}: {row['split']} top-1 {top1:.2f} % after {row['train_seconds']} s"

    def _keeps(self, row: rows.Row) -> bool:
        """A failure does not replace a result, and a row without machine not one with it."""
        old = self._old.get((row["arm"], row["seed"]))
        if old is None or old["state"] != "done":
            return True
        return row["state"] == "done" and (bool(row.get("processor")) or not old.get("processor"))

    def _ordered(self) -> list[rows.Row]:
        order = [plan.TEACHER + name for name in self._sweep.teachers] + list(self._sweep.arms)
        place = {arm: index for index, arm in enumerate(order)}
        return sorted(
            self._old.values(),
            key=lambda row: (place.get(row["arm"], len(place)), int(row["seed"])),
        )


def _choices(parsed: Mapping[str, Any]) -> plan.Choices:
    extra = shlex.split(parsed["extra_flags"] or "")
    if parsed["data_dir"]:
        extra.append(f"--data_dir={parsed['data_dir']}")
    return plan.Choices(
        runs_dir=Path(parsed["runs_dir"] or Path("runs") / Path(parsed["output"]).stem),
        only=tuple(filter(None, (parsed["only"] or "").split(","))),
        validation_fraction=parsed["validation_fraction"],
        trial_examples=parsed["trial_examples"],
        extra_flags=tuple(extra),
    )


def _list(runs: Sequence[plan.Run], *, done: set[Path]) -> None:
    for run in runs:
        command = [*plan.arguments_of(run.config), f"--model_dir={run.model_dir}"]
        print(f"# {run.name}{' (done)' if run.files in done else ''}")
        print(shlex.join(["std-keras", "train", *command]))


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
            f"--runs_dir={folder} is in use by another sweep; wait for it or choose another folder"
        ) from error
    return lock
