"""Makes the runs of a sweep one after the other, and the tables of what came out.

Usage: std-keras sweep SPEC --output=results/NAME.csv   (--help lists the flags)

The same command again goes on where it stopped: what is done is skipped, an interrupted run is
continued, a failed one is tried again. SPEC is a TOML file;
`std_keras/research/sweeps/spec.py` shows one.
"""

from __future__ import annotations

from collections.abc import Sequence

from std_keras.config.option import COUNT, DATA, FRACTION, NATURAL, OPTIMIZATION, RUN, Option
from std_keras.programs import flags, shared_options
from std_keras.programs.program import StopRequest
from std_keras.research.sweeps.sweep import sweep

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
    (place,) = parsed.pop("SPEC")
    only = tuple(filter(None, (parsed.pop("only") or "").split(",")))
    extra_flags = parsed.pop("extra_flags") or ""
    swept = sweep(place, only=only, extra_flags=extra_flags, **parsed, stop=lambda: bool(stop))
    if parsed["dry_run"]:
        print(swept.commands())
