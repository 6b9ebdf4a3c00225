"""Analyzes what a trained student learned: metrics, plots, and an HTML page of both.

Usage: std-keras analyze NAME --model_dir=RUN --output_dir=OUT [--against=TEACHER] ...
std-keras analyze NAME --help lists its flags.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence

from std_keras.errors import InputError
from std_keras.programs import flags
from std_keras.programs.program import StopRequest
from std_keras.research.studies.options import ANALYSES, COMMON, COMMON_DEFAULTS


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, runs one analysis, writes it and prints what was written as JSON."""
    if not arguments or arguments[0] in ("--help", "-h", "-help", "--helpfull"):
        listed = [f"    {name:<14} {analysis.about}" for name, analysis in ANALYSES.items()]
        raise flags.HelpRequested("\n".join([str(__doc__), *listed]))
    name, *rest = arguments
    if name not in ANALYSES:
        near = difflib.get_close_matches(name, ANALYSES, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? There are" if near else "the first word is one of"
        raise InputError(f"{name!r} is not an analysis; {hint} {', '.join(ANALYSES)}")
    chosen = ANALYSES[name]
    options = {**COMMON, **chosen.options}
    parsed = flags.parse(
        rest,
        program=f"std-keras analyze {name}",
        about=chosen.about,
        options=options,
        defaults={**COMMON_DEFAULTS, **chosen.defaults},
        required=("model_dir", "output_dir"),
    )

    from std_keras.research.analyze import analyze

    written = analyze(name, **parsed, stop=lambda: bool(stop))
    print(json.dumps({"analysis": name, "files": [str(path) for path in written]}, indent=2))
