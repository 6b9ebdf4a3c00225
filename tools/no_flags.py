"""The command line of a tool that has no flags: `--help`, and no word more."""

from __future__ import annotations

import argparse


def read(about: str | None, *, program: str, words: tuple[str, ...] = ()) -> str | None:
    """The word of the command line, if there is one.

    Ends the process after `--help`, or with code 2 if there is anything else on the line.

    Args:
        about: what `--help` prints: the tool's docstring.
        program: the command, such as `python -m tools.NAME`.
        words: those that may be given, one at most.
    """
    parser = argparse.ArgumentParser(
        prog=program, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if words:
        parser.add_argument("word", nargs="?", choices=words)
    word: str | None = getattr(parser.parse_args(), "word", None)
    return word
