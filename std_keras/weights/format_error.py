"""The error that the readers of this package raise; `read_source` adds the file's name."""

from __future__ import annotations


class FormatError(ValueError):
    """A file is damaged, hostile or of another kind; the message completes "FILE ..."."""
