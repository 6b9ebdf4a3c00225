"""What a page does on a phone: which tables and pictures scroll, and where that is said."""

from __future__ import annotations

import re

import pytest

from std_keras.research.studies import page

SCROLLS = "The table scrolls sideways."


@pytest.mark.parametrize(
    ("columns", "row", "wide"),
    [
        (["head", "ECE", "MCE", "overconfidence"], ["distillation_0_last", 0.1, 0.2, -0.1], True),
        (["layer", "nearest in base", "CKA"], ["tokens_0_last/channel", "final_norm", 0.5], False),
        (["class", "images", "base", "stud: average"], ["8", 35, "0.00 %", "10.00 %"], False),
        (["a", "b", "c", "d", "e"], [1, 2, 3, 4, 5], False),
        (["name", "value"], ["x", "a text that is longer than a phone is wide"], True),
    ],
)
def test_a_table_says_so_if_a_phone_cuts_it(columns, row, wide):
    """Seen in Chromium, 390 pixels wide: the first cut `overconfidence` and had no hint."""
    assert (SCROLLS in page.Table(columns, [row]).as_html()) == wide


def test_a_table_of_texts_has_columns_of_one_width():
    assert SCROLLS in page.Table(["flag", "a", "b"], [["--x", "1", "2"]], wrap=True).as_html()
    assert SCROLLS not in page.Table(["flag", "a"], [["--x", "1" * 99]], wrap=True).as_html()


@pytest.mark.parametrize(
    ("width", "small", "least"), [(520, False, None), (520, True, 442), (640, False, 640)]
)
def test_letters_do_not_shrink_until_nobody_can_read_them(width, small, least):
    drawn = page.Picture("x", b"", "words", width, small_letters=small).as_html()
    found = re.search(r"min-width:(\d+)px", drawn)
    assert (found and int(found[1])) == least
    assert ("The picture scrolls sideways." in drawn) == (least is not None)


def test_one_section_needs_no_menu(tmp_path):
    for name, menu in (("runs", False), ("ship", True)):
        page.write(tmp_path / "p.html", page.Section(name, name.title(), "", []))
        assert ("<nav>" in (tmp_path / "p.html").read_text()) == menu
