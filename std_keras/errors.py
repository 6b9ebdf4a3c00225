"""Errors with the exit codes that the programs promise.

A library caller catches the class; a program turns it into its exit code and one line on standard
error (see `std_keras/programs/program.py`).
"""

from __future__ import annotations

import errno
import re

# Of an OSError: the disk's fault, not that of the path.
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)

# How the lines of TensorFlow's errors begin that say where an operation was defined.
_WHERE = ("Graph execution error", "Detected at node", "<stack traces", "File ", "[[{{node")
_LONGEST = 300


def reason_of(error: BaseException) -> str:
    """What went wrong, in one line: of another library's error, for a sentence of ours.

    TensorFlow puts where an operation was defined, over many lines, in front of what it says.
    """
    text = re.sub(r"\{\{function_node [^}]*\}\} ?| ?\[Op:[^\]]*\]( name:.*)?", "", str(error))
    lines = [line.strip() for line in text.splitlines()]
    said = [x for x in lines if x and not x.startswith(_WHERE) and "root error(s)" not in x]
    return said[0][:_LONGEST] if said else type(error).__name__


class StdKerasError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = 1


class InputError(StdKerasError, ValueError):
    """Bad input: an argument, a file or a directory that cannot be used (exit code 2).

    The message is one sentence: the argument or file, its value, and what would be valid.
    """

    exit_code = 2


class NonFiniteError(StdKerasError, ArithmeticError):
    """Training produced a NaN or an infinity (exit code 3)."""

    exit_code = 3


class LimitError(StdKerasError):
    """A result exceeds a limit that the user set (exit code 4)."""

    exit_code = 4


class MachineError(StdKerasError, RuntimeError):
    """The machine failed: disk full, out of memory, a lost worker (exit code 5)."""

    exit_code = 5


class Interrupted(StdKerasError):
    """Stopped by SIGTERM or SIGINT after a checkpoint was saved (exit code 75)."""

    exit_code = 75
