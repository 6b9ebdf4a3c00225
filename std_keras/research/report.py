"""`std_keras.report`: runs side by side, on one HTML page."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from std_keras import progress, quiet
from std_keras.errors import InputError, Interrupted
from std_keras.files.paths import user_path
from std_keras.runs.run import Run
from std_keras.runs.run_directory import RunDirectory


def report(
    runs: Sequence[Run | str | os.PathLike[str]],
    *,
    output_dir: str | os.PathLike[str],
    export: Sequence[str | os.PathLike[str]] = (),
    dataset: str | None = None,
    data_dir: str | None = None,
    examples: int = 2000,
    samples: int = 12,
    batch_size: int = 128,
    stop: Callable[[], bool] = lambda: False,
) -> list[Path]:
    """Compares runs, finished or not: results, options, curves, mistakes, samples, exports.

    Args:
        runs: run directories.
        output_dir: where JSON, PNG, report.html and tensorboard/ are written.
        export: folders that `std_keras.export` wrote; those inside of the run directories are
            found without it.
        dataset: None for the data set of the first run.
        data_dir: where TFDS keeps its prepared data sets; None for the first run's own.
        examples: at most this many evenly spaced test images; 0 for all.
        samples: how many sample predictions to show.
        batch_size: examples at a time.
        stop: asked between batches; once true, nothing is written.

    Returns:
        The files, the page first.

    Raises:
        InputError: if a folder is none of ours, or an option is outside its limits.
        Interrupted: because `stop()` was true.
    """
    for name, value, least in (
        ("examples", examples, 0),
        ("samples", samples, 0),
        ("batch_size", batch_size, 1),
    ):
        if value < least:
            raise InputError(f"{name}={value} must be at least {least}")
    if not runs:
        raise InputError("`runs` is empty; name at least one run directory")
    from std_keras.research.studies import figures

    figures.require()
    quiet.ensure_tensorflow()
    from std_keras.research.analysis import predictions, run_comparison
    from std_keras.research.studies import output, runs_section

    places = [os.fspath(run) for run in runs]
    names = predictions.short_names(places)
    records = [run_comparison.read(run, name=n) for run, n in zip(places, names, strict=True)]
    folders = [user_path(folder) for folder in export]
    for folder in folders:
        if not (folder / "report.json").is_file():
            raise InputError(f"export={folder} holds no report.json of std-keras export")
    exported = run_comparison.exports([*folders, *(record.run.path for record in records)])
    options = {
        "dataset": dataset,
        "data_dir": data_dir,
        "examples": examples,
        "samples": samples,
        "batch_size": batch_size,
    }
    directory = RunDirectory(output_dir)
    directory.prepare(flag="output_dir")
    try:
        output.refuse_foreign_page(directory.path)
        if stop():
            raise Interrupted("interrupted; nothing was written")
        result = runs_section.run(records, exported, options, stop=stop)
        written = output.write(result, directory.path)
    finally:
        directory.release()
    progress.say(f"open {written[0]}")
    return written
