"""The map in CONTRIBUTING.md is the package's: its rooms, and what imports what."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, read, tables

PACKAGE = ROOT / "std_keras"
ALONE = ("config", "data", "layers", "losses", "exporting/classifying")


def modules() -> list[Path]:
    """The files of the package, but for those that only start a program."""
    files = [file.relative_to(PACKAGE) for file in sorted(PACKAGE.rglob("*.py"))]
    starters = {"__init__", "__main__", "train", "evaluate", "export", "classify"}
    return [f for f in files if len(f.parts) > 1 or f.stem not in starters]


def imported(file: Path) -> set[str]:
    """What a file imports of std_keras, at its top or inside functions, as paths: `losses/mine`."""
    names = set()
    for node in ast.walk(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    paths = {"/".join(name.split(".")[1:]) for name in names if name.startswith("std_keras.")}
    return {path for path in map(existing, paths) if path}


def existing(path: str) -> str:
    """The module of a path whose last part may be a name inside it; empty for the package's own."""
    while path and not ((PACKAGE / path).is_dir() or (PACKAGE / f"{path}.py").is_file()):
        path = path.rpartition("/")[0]
    return path


def inside(path: str, place: str) -> bool:
    """Whether a module is a place of the diagram, or in it."""
    return path == place or path.startswith(f"{place}/")


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    """The diagram of imports, from what all may import to what nobody imports."""
    diagram = re.search(r"^    errors.*?programs$", read("CONTRIBUTING.md"), re.M | re.S)
    assert diagram
    return [re.findall(r"[\w/]+", row) for row in diagram.group(0).split("◀")]


def rank(path: str, rows: list[list[str]]) -> int:
    """The row of a module: that of the innermost place that holds it."""
    found = [
        (len(place), row)
        for row, places in enumerate(rows)
        for place in places
        if inside(path, place)
    ]
    assert found, f"{path} is not in the diagram of imports in CONTRIBUTING.md"
    return max(found)[1]


def test_the_diagram_names_what_there_is(rows):
    places = [place for row in rows for place in row]
    assert len(places) == len(set(places)) > 10
    assert {place for place in places if existing(place) != place} == set()


@pytest.mark.parametrize("file", modules(), ids=str)
def test_imports_go_one_way(file, rows):
    own = rank(file.with_suffix("").as_posix(), rows)
    above = {path for path in imported(file) if rank(path, rows) > own}
    assert not above, f"std_keras/{file} imports from a row below its own"


@pytest.mark.parametrize("room", ALONE)
def test_a_room_that_stands_alone(room):
    for file in modules():
        if inside(file.as_posix(), room):
            others = {path for path in imported(file) if not inside(path, room)}
            others = {path for path in others if not inside(path, "files")}
            shared = {"background", "errors", "extras", "progress", "quiet", "xla_cache"}
            assert others <= shared, f"std_keras/{file}"


@pytest.fixture(scope="module")
def rooms() -> list[list[str]]:
    """The rows of the map."""
    (table,) = (t for t in tables(read("CONTRIBUTING.md")) if t[0][0] == "room")
    return table[1:]


def test_every_room_is_on_the_map(rooms):
    written = {name for row in rooms for name in re.findall(r"`([\w/.]+)`", row[0])}
    files = {file.name for file in PACKAGE.glob("*.py") if not file.name.startswith("__")}
    folders = {f"{folder.name}/" for folder in PACKAGE.iterdir() if any(folder.glob("*.py"))}
    assert written == files | folders


def test_files_on_the_map_exist(rooms):
    for row in rooms:
        (room, *_) = re.findall(r"`([\w/.]+)`", row[0])
        for name in re.findall(r"`([\w/]+(?:\.py|/))`", row[2]):
            assert (PACKAGE / room / name).exists(), f"{room}{name}"
