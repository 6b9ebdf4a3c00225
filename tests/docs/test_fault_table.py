"""Every fault that the documentation lists is proved by a test that exists."""

from __future__ import annotations

import ast
import re

import pytest

HEADER = "| what fails | what is done | what is lost | proof |"


@pytest.fixture(scope="module")
def rows(root):
    text = (root / "docs" / "distributed.md").read_text(encoding="utf-8")
    table = text.partition(HEADER)[2].partition("\n\n")[0].strip().splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


def functions_of(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_row_says_what_is_done_and_lost(rows):
    assert len(rows) >= 20
    assert all(len(row) == 4 and all(row) for row in rows), "a row has an empty cell"
    assert len({row[0] for row in rows}) == len(rows)


def test_every_named_test_exists(root, rows):
    for what, _, _, proof in rows:
        named = re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", proof)
        assert named, f"{what}: {proof} names no test"
        assert named[2] in functions_of(root / named[1]), f"{what}: there is no {proof}"
