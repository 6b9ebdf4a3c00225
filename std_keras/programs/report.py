"""Compares runs: results, differing flags, curves, mistakes, sample predictions, exports.

Usage: std-keras report RUN [RUN ...] --output_dir=OUT [--name=value ...]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from std_keras import progress
from std_keras.config.option import DATA, PERFORMANCE, RUN, Option
from std_keras.errors import InputError, Interrupted
from std_keras.programs import flags, program
from std_keras.programs.program import StopRequest

OPTIONS = {
    "output_dir": Option(
        topic=RUN, help="Where JSON, PNG, report.html and tensorboard/ are written.", kind=str
    ),
    "export": Option(
        topic=RUN,
        help="A folder that std_keras.export wrote; repeatable. Those inside of the run "
        "directories are found without it.",
        kind=str,
        repeated=True,
    ),
    "dataset": Option(topic=DATA, help="The data set of the first run if not given.", kind=str),
    "data_dir": Option(topic=DATA, help="Where TFDS keeps its prepared data sets.", kind=str),
    "examples": Option(
        topic=DATA, help="So many test images, taken at equal distances; 0 for all.", kind=int
    ),
    "samples": Option(topic=RUN, help="How many sample predictions to show.", kind=int),
    "batch_size": Option(topic=PERFORMANCE, help="Examples at a time.", kind=int),
}
DEFAULTS = {"examples": 2000, "samples": 12, "batch_size": 128}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses runs and flags, compares, writes, and prints the files as JSON."""
    runs = [argument for argument in arguments if not argument.startswith("-")]
    parsed = flags.parse(
        [argument for argument in arguments if argument.startswith("-")],
        program="std-keras report RUN [RUN ...]",
        about="Compares runs, finished or not, on one HTML page.",
        options=OPTIONS,
        defaults=DEFAULTS,
        required=("output_dir",),
    )
    if not runs:
        raise InputError("no run is named; write: std-keras report RUN [RUN ...]")
    for name, least in (("examples", 0), ("samples", 0), ("batch_size", 1)):
        if parsed[name] < least:
            raise InputError(f"--{name}={parsed[name]} is below {least}")

    from std_keras import quiet

    quiet.load_tensorflow()
    from std_keras.research.analysis import predictions, run_comparison
    from std_keras.research.studies import figures, output, runs_section
    from std_keras.runs.run_directory import RunDirectory

    figures.require()
    names = predictions.short_names(runs)
    records = [run_comparison.read(run, name=n) for run, n in zip(runs, names, strict=True)]
    folders = [Path(folder).expanduser() for folder in parsed["export"]]
    for folder in folders:
        if not (folder / "report.json").is_file():
            raise InputError(f"--export={folder} holds no report.json of std_keras.export")
    exported = run_comparison.exports([*folders, *(record.run.path for record in records)])
    output_dir = RunDirectory(parsed["output_dir"])
    output_dir.prepare(flag="output_dir")
    try:
        output.refuse_foreign_page(output_dir.path)
        if stop:
            raise Interrupted("interrupted; nothing was written")
        result = runs_section.run(records, exported, parsed, stop=lambda: bool(stop))
        written = output.write(result, output_dir.path)
    finally:
        output_dir.release()
    progress.say(f"open {written[0]}")
    print(json.dumps({"analysis": "runs", "files": [str(path) for path in written]}, indent=2))


if __name__ == "__main__":
    sys.exit(program.run(main))
