"""`std_keras.analyze`: what a trained student learned, as numbers, pictures, and one HTML page."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from std_keras import progress, quiet
from std_keras.config.option import check_value
from std_keras.errors import InputError, Interrupted
from std_keras.research.studies.options import ANALYSES, COMMON, COMMON_DEFAULTS
from std_keras.runs.run import Run
from std_keras.runs.run_directory import RunDirectory


def analyze(
    name: str,
    *,
    model_dir: Run | str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    stop: Callable[[], bool] = lambda: False,
    **options: Any,
) -> list[Path]:
    """Runs one analysis.

    Args:
        name: "agreement", "cka", "disagreement", "permutation", "robustness", "specialization",
            "tokens" or "weights".
        model_dir: the run to look into, its directory, or `std_keras:NAME`.
        output_dir: where JSON, PNG, report.html and tensorboard/ are written.
        stop: asked between batches; once true, nothing is written.
        **options: `weights`, `dataset`, `data_dir`, `examples`, `batch_size`, and those of the
            analysis, which `std_keras.research.studies.options.ANALYSES` lists.

    Returns:
        The files, the page first.

    Raises:
        InputError: for an analysis or option that does not exist, or something that does not fit.
        Interrupted: because `stop()` was true.
    """
    if name not in ANALYSES:
        raise InputError(
            f"{name!r} is not an analysis; the first word is one of {', '.join(ANALYSES)}"
        )
    chosen = ANALYSES[name]
    parsed = _filled(name, options)
    parsed |= {"model_dir": os.fspath(model_dir), "output_dir": os.fspath(output_dir)}
    from std_keras.research.analysis.unsuitable import UnsuitableModelError
    from std_keras.research.studies import figures

    figures.require()
    quiet.ensure_tensorflow()
    from std_keras.research.studies import output, study

    folder = RunDirectory(output_dir)
    opened = study.open_study(parsed, against=chosen.against, stop=stop)
    folder.prepare(flag="output_dir")
    try:
        output.refuse_foreign_page(folder.path)
        if stop():
            raise Interrupted("interrupted; nothing was written")
        result = importlib.import_module(f"std_keras.research.studies.{name}").run(opened, parsed)
        written = output.write(result, folder.path)
    except UnsuitableModelError as error:
        raise InputError(f"model_dir={parsed['model_dir']}: {error}") from error
    finally:
        folder.release()
    progress.say(f"{name}: open {written[0]}")
    return written


def _filled(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """All options of an analysis, checked."""
    chosen = ANALYSES[name]
    known = {**COMMON, **chosen.options}
    defaults = {**COMMON_DEFAULTS, **chosen.defaults}
    for option in given:
        if option not in known:
            raise InputError(f"`{option}` is not an option of {name}; it has {', '.join(known)}")
    filled = {}
    for option, about in known.items():
        value = given.get(option, defaults.get(option))
        if about.repeated:
            value = tuple(value or ())
        if value is not None:
            check_value(option, about, value)
        filled[option] = value
    return filled
