"""`std-keras COMMAND --flags`: finds the command and runs it."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from std_keras import __version__
from std_keras.errors import InputError

if TYPE_CHECKING:
    from std_keras.programs.program import StopRequest


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Runs the command that the first argument names, with the others.

    Raises:
        HelpRequested: for `--help` before a command.
        InputError: for a command that does not exist, or none.
    """
    from std_keras.programs import commands
    from std_keras.programs.flags import HelpRequested

    if not arguments:
        print(commands.help_text(), file=sys.stderr)
        raise InputError("no command is given; write std-keras COMMAND, with one of those above")
    first, *rest = arguments
    if first in ("--help", "-help", "-h", "--helpfull", "help"):
        raise HelpRequested(commands.help_text())
    if first == "--version":
        raise HelpRequested(f"std_keras {__version__}")
    if first.startswith("-"):
        raise InputError(f"{first} comes before the command; write std-keras COMMAND {first}")
    # A command imports what it needs: one that needs no TensorFlow loads none.
    module = importlib.import_module(f"std_keras.programs.{commands.find(first).module}")
    module.main(rest, stop)


def console() -> None:
    """Entry point of the console program."""
    # Until the program hears signals itself, Ctrl-C ends it without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from std_keras.programs import program

    program.console(main)
