"""What the package says: it names commands, and no file that an installation does not bring."""

from __future__ import annotations

import re

from std_keras.programs.commands import COMMANDS


def sources(root):
    return {path: path.read_text() for path in sorted((root / "std_keras").rglob("*.py"))}


def test_no_text_names_a_file_of_the_checkout(root):
    found = {
        f"{path.relative_to(root)}: {match[0]}"
        for path, text in sources(root).items()
        for match in re.finditer(r"(?<![\w/])(tools|docs|tests|examples|flags)/[\w.{]*", text)
    }
    assert found == set()


def test_every_command_that_is_named_exists(root):
    named = {
        match[1]
        for text in sources(root).values()
        for match in re.finditer(r"\bstd-keras\s+([a-z][a-z-]*)", text)
    }
    assert named <= COMMANDS.keys() | {"help"}
    assert len(named) > 10
