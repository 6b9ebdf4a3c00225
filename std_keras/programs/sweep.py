"""Runs all configurations of a sweep and tabulates the results.

Usage: std-keras sweep SPEC --output=results/NAME.csv   (--help lists the flags)

Run the same command again to continue: finished runs are skipped, an interrupted run is continued,
a failed one is retried. SPEC is a TOML file; `std_keras/research/sweeps/spec.py` shows one.
"""

from __future__ import annotations

from collections.abc import Sequence

from std_keras.config.option import COUNT, DATA, FRACTION, NATURAL, OPTIMIZATION, RUN, Option
from std_keras.programs import flags, shared_options
from std_keras.programs.program import StopRequest
from std_keras.research.sweeps.sweep import sweep

_OPTIONS = {
    "output": Option(topic=RUN, help="The CSV file to write, one row per run.", kind=str),
    "summary": Option(
        topic=RUN,
        help="The CSV file of means and standard deviations over seeds; next to --output if not "
        "given.",
        kind=str,
    ),
    "markdown": Option(
        topic=RUN, help="The Markdown page to write; next to --output if not given.", kind=str
    ),
    "runs_dir": Option(
        topic=RUN,
        help="Folder of run directories, logs and teacher predictions; runs/ and the name of "
        "--output if not given.",
        kind=str,
    ),
    "only": Option(topic=RUN, help="Arms to run, separated by commas; all if not given.", kind=str),
    "dry_run": Option(topic=RUN, help="List the runs and their commands, then stop.", kind=bool),
    "budget_minutes": Option(
        topic=RUN,
        help="Stop after this many minutes, with a checkpoint of the current run; 0 for no limit.",
        kind=float,
        **NATURAL,
    ),
    "parallel": Option(
        topic=RUN,
        help="Number of concurrent runs, each on its share of the CPU cores. For small models on "
        "a CPU this is faster than one run at a time on all cores.",
        kind=int,
        **COUNT,
    ),
    "trial_examples": Option(
        topic=DATA,
        help="Trial: one epoch on this many examples for every run, teachers included, to test "
        "all commands; 0 for the real runs.",
        kind=int,
        **NATURAL,
    ),
    "validation_fraction": Option(
        topic=DATA,
        help="Compare arms on this held-out fraction of the train split instead of the test split.",
        kind=float,
        **FRACTION,
    ),
    "data_dir": shared_options.DATA_DIR,
    "extra_flags": Option(
        topic=OPTIMIZATION,
        help='Additional flags for every run, teachers included, such as "--jit_compile".',
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


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, runs what is missing, and writes the tables."""
    parsed = flags.parse(
        arguments,
        program="std-keras sweep",
        about="Runs all configurations of a sweep and tabulates the results. Run the same command "
        "again to continue an interrupted sweep.",
        options=_OPTIONS,
        defaults=_DEFAULTS,
        required=("output",),
        words="SPEC",
        single=True,
    )
    (place,) = parsed.pop("SPEC")
    only = tuple(filter(None, (parsed.pop("only") or "").split(",")))
    extra_flags = parsed.pop("extra_flags") or ""
    swept = sweep(place, only=only, extra_flags=extra_flags, **parsed, stop=lambda: bool(stop))
    if parsed["dry_run"]:
        print(swept.commands())
