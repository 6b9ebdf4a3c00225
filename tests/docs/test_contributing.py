"""The map in CONTRIBUTING.md is the package's: its files, and what imports what."""

from __future__ import annotations

import ast
import re

import pytest

PROGRAMS = ("train", "evaluate", "export", "classify")


@pytest.fixture(scope="module")
def text(root) -> str:
    return (root / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def ranks(text) -> dict[str, int]:
    """The row of every part in the diagram of imports; the programs come last."""
    diagram = re.search(r"^    errors.*?the programs$", text, re.MULTILINE | re.DOTALL)
    assert diagram
    rows = diagram.group(0).split("◀")
    named = {name: row for row, names in enumerate(rows[:-1]) for name in re.findall(r"\w+", names)}
    return named | dict.fromkeys(PROGRAMS, len(rows))


def imported_parts(source: str) -> set[str]:
    """The parts of std_keras that a file imports, at its top or inside functions."""
    parts = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "std_keras":
            names = [f"std_keras.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        parts |= {name.split(".")[1] for name in names if name.startswith("std_keras.")}
    return parts


def test_imports_go_one_way(root, ranks):
    package = root / "std_keras"
    for file in package.rglob("*.py"):
        part = file.relative_to(package).with_suffix("").parts[0]
        if part in ("__init__", "cli"):
            continue
        allowed = {"cli"} if part in PROGRAMS else set()
        above = {
            p
            for p in imported_parts(file.read_text(encoding="utf-8")) - allowed
            if ranks[p] > ranks[part]
        }
        assert not above, f"{file} imports {above}"


def test_losses_and_layers_stand_alone(root):
    package = root / "std_keras"
    for file in (package / "losses.py", package / "mine.py", *package.glob("layers/*.py")):
        assert imported_parts(file.read_text(encoding="utf-8")) <= {"errors", "layers"}, file


@pytest.fixture(scope="module")
def places(text) -> set[str]:
    """What the map names, as paths below the package; folders end with a slash."""
    rows = text.partition("| file | idea |")[2].partition("\n\n")[0].splitlines()[2:]
    named = set()
    for row in rows:
        folder = ""
        for name in re.findall(r"`([\w/.]+)`", row.split("|")[1]):
            if name.endswith(".py") and "/" in name:
                folder = name.rpartition("/")[0] + "/"
                named.add(name)
            else:
                named.add(folder + name)
    return named


def test_the_map_names_what_there_is(root, places):
    assert len(places) > 50
    assert {place for place in places if not (root / "std_keras" / place).exists()} == set()


def test_every_file_of_the_package_is_on_the_map(root, places):
    package = root / "std_keras"
    missing = {
        name
        for file in package.rglob("*.py")
        if file.stem != "__init__"
        and (name := file.relative_to(package).as_posix()) not in places
        and not any(name.startswith(place) for place in places if place.endswith("/"))
    }
    assert missing == set()
