"""When things happen: the one place that knows after which step to log, evaluate and save."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cadence:
    """The calendar of a run, counted in steps that are done.

    Everything follows from the step count alone, so a continued run and a changed clock keep it.

    Attributes:
        steps_per_epoch: steps in one epoch.
        total_steps: steps of the whole run.
        log_every: steps between logged training metrics.
        evaluate_every: steps between evaluations.
        checkpoint_every: steps between checkpoints.
        steps_per_call: most steps that one call may take.
    """

    steps_per_epoch: int
    total_steps: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int
    steps_per_call: int

    def next_stop(self, step: int) -> int:
        """The step count after the next call, so that a call never runs across an event."""
        events = (self.log_every, self.evaluate_every, self.checkpoint_every, self.steps_per_epoch)
        stops = [(step // every + 1) * every for every in events]
        return min(*stops, step + self.steps_per_call, self.total_steps)

    def logs(self, step: int) -> bool:
        """Whether training metrics are logged after this step; at least once an epoch."""
        short = self.steps_per_epoch < self.log_every and self.ends_epoch(step)
        return short or step % self.log_every == 0 or step == self.total_steps

    def ends_epoch(self, step: int) -> bool:
        """Whether this step is the last of an epoch."""
        return step % self.steps_per_epoch == 0

    def evaluates(self, step: int) -> bool:
        """Whether the model is evaluated after this step; the end of the run is apart."""
        return step % self.evaluate_every == 0 and step < self.total_steps

    def saves(self, step: int) -> bool:
        """Whether a checkpoint is saved after this step."""
        return step % self.checkpoint_every == 0 or step == self.total_steps
