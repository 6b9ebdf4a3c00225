"""The committed picture is the one its script draws."""

from __future__ import annotations

import runpy
from xml.etree import ElementTree

import pytest


@pytest.fixture(scope="module")
def drawn(root) -> str:
    return runpy.run_path(str(root / "tools" / "draw_token_modules.py"))["draw"]()


def test_committed_picture_is_what_the_script_draws(root, drawn):
    committed = (root / "docs" / "token_modules.svg").read_text(encoding="utf-8")
    assert committed == drawn, "run python -m tools.draw_token_modules"


def test_picture_is_well_formed_and_stays_inside_its_frame(drawn):
    picture = ElementTree.fromstring(drawn)
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    _, _, width, height = (float(v) for v in picture.attrib["viewBox"].split())
    rectangles = picture.findall(".//{*}rect")
    assert rectangles
    for r in rectangles:
        assert float(r.attrib["x"]) >= 0
        assert float(r.attrib["y"]) >= 0
        assert float(r.attrib["x"]) + float(r.attrib["width"]) <= width
        assert float(r.attrib["y"]) + float(r.attrib["height"]) <= height


def test_every_arrow_head_is_defined(drawn):
    picture = ElementTree.fromstring(drawn)
    defined = {f"url(#{m.attrib['id']})" for m in picture.findall(".//{*}marker")}
    used = {
        line.attrib[end]
        for line in picture.findall(".//{*}polyline")
        for end in ("marker-start", "marker-end")
        if end in line.attrib
    }
    assert used
    assert used <= defined
