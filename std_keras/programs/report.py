"""Compares runs: results, differing flags, curves, mistakes, sample predictions, exports.

Usage: std-keras report RUN [RUN ...] --output_dir=OUT [--name=value ...]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from std_keras import progress
from std_keras.config.option import NATURAL, RUN, Option
from std_keras.errors import InputError, Interrupted
from std_keras.programs import flags, shared_options
from std_keras.programs.program import StopRequest

OPTIONS = {
    "output_dir": shared_options.REPORT_DIR,
    "export": Option(
        topic=RUN,
        help="A folder that std-keras export wrote; repeatable. Those inside of the run "
        "directories are found without it.",
        kind=str,
        repeated=True,
    ),
    "dataset": shared_options.saying(
        shared_options.DATASET, "The data set of the first run if not given."
    ),
    "data_dir": shared_options.DATA_DIR,
    "examples": shared_options.EXAMPLES,
    "samples": Option(topic=RUN, help="How many sample predictions to show.", kind=int, **NATURAL),
    "batch_size": shared_options.BATCH_SIZE,
}
DEFAULTS = {"examples": 2000, "samples": 12, "batch_size": 128}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses runs and flags, compares, writes, and prints the files as JSON."""
    parsed = flags.parse(
        arguments,
        program="std-keras report",
        about="Compares runs, finished or not, on one HTML page.",
        options=OPTIONS,
        defaults=DEFAULTS,
        required=("output_dir",),
        words="RUN",
    )
    runs = parsed["RUN"]

    from std_keras import quiet
    from std_keras.research.studies import figures

    figures.require()
    quiet.load_tensorflow()
    from std_keras.research.analysis import predictions, run_comparison
    from std_keras.research.studies import output, runs_section
    from std_keras.runs.run_directory import RunDirectory

    names = predictions.short_names(runs)
    records = [run_comparison.read(run, name=n) for run, n in zip(runs, names, strict=True)]
    folders = [Path(folder).expanduser() for folder in parsed["export"]]
    for folder in folders:
        if not (folder / "report.json").is_file():
            raise InputError(f"--export={folder} holds no report.json of std-keras export")
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
