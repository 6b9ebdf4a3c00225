"""The files that a sweep writes, made anew after every run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from std_keras import progress
from std_keras.errors import InputError
from std_keras.files.texts import as_utf8
from std_keras.research.sweeps import plan, record, rows, spec, summary
from std_keras.research.sweeps.metrics import result_of
from std_keras.runs.run_directory import write_atomically


class Tables:
    """The table of runs, the table of means, and the page.

    Args:
        sweep: what is made.
        output: the table of runs, a CSV file.
        summary_file: the table of means and standard deviations; None for one next to `output`.
        page: None for one next to `output`.
        command: that makes the sweep, for the files to name.
    """

    def __init__(
        self,
        sweep: spec.Spec,
        *,
        output: Path,
        summary_file: Path | None,
        page: Path | None,
        command: Sequence[str],
    ) -> None:
        self._sweep, self.output = sweep, output
        self.summary = summary_file or output.with_name(f"{output.stem}_summary.csv")
        self.page = page or output.with_suffix(".md")
        self._command = shlex.join(command)
        self._old = {(row["arm"], row["seed"]): row for row in rows.read(output)}

    def is_done(self, run: plan.Run) -> bool:
        """Whether a run needs no training: its directory or its row in the table is there."""
        record.read(run)  # Refuses a run with other flags.
        if record.is_finished(run):
            differing = record.flags_that_differ(run) if run.is_teacher else ()
            if differing:
                progress.warn(
                    f"{run.name}: {run.model_dir} was trained with other flags "
                    f"({'; '.join(differing)}), which its row will show; remove it to train again"
                )
            return True
        row = self._old.get((run.arm, str(run.seed)))
        if row is None or row["state"] != "done":
            return False
        if row["flags"] != as_utf8(run.flags) and not run.is_teacher:
            raise InputError(
                f"{self.output} has a row of {run.name} with other flags ({row['flags']}; now "
                f"{run.flags}); remove the row, or choose another `output`"
            )
        # A teacher's row does not help the runs that need the teacher.
        return not run.is_teacher

    def write(self, runs: Sequence[plan.Run]) -> None:
        """Writes all files from what there is; rows of runs that are elsewhere are kept."""
        # Read again: another sweep with the same output may have added rows.
        self._old |= {(row["arm"], row["seed"]): row for row in rows.read(self.output)}
        for run in runs:
            row = rows.row_of(run)
            if row is not None and self._keeps(row):
                self._old[run.arm, str(run.seed)] = row
        if not self._old:
            return
        found = rows.with_differing_options(self._ordered())
        rows.write(self.output, found, command=self._command)
        summary.write(self.summary, summary.summarize(found), source=self.output)
        self.page.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(
            self.page,
            summary.markdown(
                found,
                title=self._sweep.title,
                about=self._sweep.about,
                command=self._command,
                source=self.output.name,
            ),
        )

    def twins(self, runs: Sequence[plan.Run]) -> dict[str, tuple[plan.Run, plan.Run]]:
        """By arm, two finished runs with other seeds and the same figures to the last digit."""
        found: dict[str, tuple[plan.Run, plan.Run]] = {}
        ended: dict[str, list[plan.Run]] = {}
        for run in runs:
            if run.is_teacher or run.arm in found or not record.is_finished(run):
                continue
            for other in ended.setdefault(run.arm, []):
                if result_of(other)["heads"] == result_of(run)["heads"]:
                    found[run.arm] = (other, run)
                    break
            ended[run.arm].append(run)
        return found

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
