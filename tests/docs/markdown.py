"""What the tests of the documentation read from Markdown: its documents, tables and commands."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = tuple(f"docs/{file.name}" for file in sorted((ROOT / "docs").glob("*.md")))
RESULTS = (
    "RESULTS.md",
    *(f"results/{file.name}" for file in sorted((ROOT / "results").glob("*.md"))),
)
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/web/README.md", *PAGES)

_COMMAND = re.compile(
    r"(?:exec |taskset -c \d |\$ )?(std-keras|python -m (?:std_keras|tools)[\w.]*)(?: (.*))?$"
)


def read(name: str) -> str:
    """A document of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def tables(text: str) -> list[list[list[str]]]:
    """The Markdown tables of a text as rows of cells, without the line below the header."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    rows = [[line.strip("|").split("|") for line in block.splitlines()] for block in blocks]
    return [[[c.strip() for c in row] for i, row in enumerate(t) if i != 1] for t in rows]


def command_lines(text: str) -> list[tuple[str, str]]:
    """Commands that stand on lines of their own: (program, arguments).

    The last line of a quoted script ends with a quotation mark that is not the command's.
    """
    lines = (line.strip(" #") for line in text.replace("\\\n", " ").splitlines())
    bare = (line.strip("'") if line.count("'") % 2 else line for line in lines)
    found = (_COMMAND.fullmatch(line.removeprefix("Command: ")) for line in bare)
    return [(match[1], match[2] or "") for match in found if match]


def commands_in_sentences(text: str) -> list[tuple[str, str]]:
    """Commands between backticks, complete or not: (program, arguments)."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose))
    found = (_COMMAND.fullmatch(span) for span in spans)
    return [(match[1], match[2] or "") for match in found if match]
