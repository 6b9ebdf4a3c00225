"""One HTML page for all analyses: no network, pictures inside, a section for each.

A section that is written again replaces itself and leaves the others alone.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from std_keras.errors import InputError
from std_keras.runs.run_directory import write_atomically

_MARK = "<!-- made by std_keras -->"
_SECTION = re.compile(
    r"<!-- section (?P<name>\w+) -->\n(?P<body>.*?)<!-- end of section (?P=name) -->\n", re.DOTALL
)
# CSS pixels.
_PHONE = 330  # What a section has for its content, on a phone of 390.
_WIDE = 560  # Wider pictures scroll on a phone, others shrink.
_LETTER, _PADDING = 8, 12  # Of a table there; the width of a letter is that of a wide font.
_FIRST_COLUMN = 16  # Letters, after which its cells go on in the next line.
_SHRUNK = 0.85  # Of a picture whose letters are small.
_SCROLLS = "The picture scrolls sideways."
# Sections that compare, and do not look into a student.
_COMPARING = frozenset({"runs", "ship"})
_TITLE = re.compile(r"<h2>(.*?)</h2>", re.DOTALL)

_STYLE = """
:root { color-scheme: light; --ink: #1c2430; --soft: #5b6675; --line: #dde2e8; --link: #0b5cad; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #f4f6f8;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
header, main { max-width: 1180px; margin: 0 auto; padding: 0 16px; }
header { padding-top: 20px; }
h1 { font-size: 1.5rem; margin: 0 0 8px; }
h2 { font-size: 1.25rem; margin: 0 0 4px; }
h3 { font-size: 1rem; margin: 24px 0 4px; }
p { margin: 8px 0; max-width: 75ch; overflow-wrap: anywhere; }
a { color: var(--link); }
nav { display: flex; flex-wrap: wrap; gap: 8px; margin: 12px 0; }
nav a { padding: 6px 12px; background: #fff; border: 1px solid var(--line); border-radius: 16px;
  text-decoration: none; }
section { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: 16px;
  margin: 16px 0; }
.soft { color: var(--soft); font-size: 0.875rem; }
/* A shadow at a side where there is more to see: the white covers move with the content. */
.scroll { overflow-x: auto; max-height: 70vh; margin: 8px 0;
  background: linear-gradient(90deg, #fff 40%, transparent) 0 0 / 40px 100% no-repeat local,
    linear-gradient(270deg, #fff 40%, transparent) 100% 0 / 40px 100% no-repeat local,
    linear-gradient(90deg, #0004, transparent) 0 0 / 14px 100% no-repeat scroll,
    linear-gradient(270deg, #0004, transparent) 100% 0 / 14px 100% no-repeat scroll; }
figure .scroll { max-height: none; margin: 0; }
table { border-collapse: collapse; font-size: 0.875rem; }
th, td { padding: 4px 10px; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: #eef2f6; font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
.wrap td { white-space: normal; overflow-wrap: anywhere; text-align: left; min-width: 8rem; }
.wrap th { text-align: left; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr));
  gap: 16px; align-items: start; }
.pictures.wide { grid-template-columns: minmax(0, 1fr); }
figure { margin: 8px 0; min-width: 0; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: 0.875rem; max-width: 75ch; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 250px), 1fr));
  gap: 12px; }
.card { border: 1px solid var(--line); border-radius: 6px; padding: 10px; font-size: 0.8125rem;
  min-width: 0; overflow-wrap: anywhere; }
.card img { width: 96px; height: 96px; image-rendering: pixelated; object-fit: contain;
  display: block; margin-bottom: 6px; }
.card dl { display: grid; grid-template-columns: 1fr auto; gap: 0 8px; margin: 4px 0 0; }
.card dt { color: var(--soft); } .card dd { margin: 0; text-align: right; }
.right { color: #12733a; }
.small { display: none; }
@media (max-width: 600px) {
  .small { display: block; margin: 0; }
  td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 7rem; }
  th { white-space: normal; vertical-align: bottom; }
  th, td { padding: 4px 6px; }
  section { padding: 12px; }
}
details { margin: 8px 0; } summary { cursor: pointer; color: var(--link); }
"""


@dataclass(frozen=True)
class Picture:
    """A PNG with what it shows, in words.

    Attributes:
        name: of its file, without suffix.
        png: the file.
        caption: what to see, for the page and for those who cannot see it.
        width: in CSS pixels when there is room.
        small_letters: whether it cannot be read if it shrinks much.
    """

    name: str
    png: bytes
    caption: str
    width: int = 520
    small_letters: bool = False

    def as_html(self) -> str:
        text = html.escape(self.caption)
        drawn = f'<img alt="{text}" width="{self.width}" src="{_data(self.png)}">'
        least = self.width if self.width > _WIDE else 0
        if self.small_letters:
            least = round(_SHRUNK * self.width)
        if least > _PHONE:  # Its letters would be too small if it shrank to a phone's width.
            drawn = drawn.replace("<img ", f'<img style="min-width:{least}px" ', 1)
            drawn = f'<div class="scroll">{drawn}</div><p class="soft small">{_SCROLLS}</p>'
        return f"<figure>{drawn}<figcaption>{text}</figcaption></figure>"


@dataclass(frozen=True)
class Pictures:
    """Pictures beside each other where there is room; `wide` ones below each other."""

    pictures: Sequence[Picture]
    wide: bool = False

    def as_html(self) -> str:
        kind = "pictures wide" if self.wide else "pictures"
        return f'<div class="{kind}">' + "".join(p.as_html() for p in self.pictures) + "</div>"


@dataclass(frozen=True)
class Text:
    """A paragraph; `title` puts a heading above it."""

    text: str
    title: str = ""

    def as_html(self) -> str:
        head = f"<h3>{html.escape(self.title)}</h3>" if self.title else ""
        return head + (f"<p>{html.escape(self.text)}</p>" if self.text else "")


@dataclass(frozen=True)
class Table:
    """Rows of numbers and names; long ones are folded away behind `folded`, if given.

    Attributes:
        columns: heads.
        rows: floats are shown with three decimals; None and NaN as a dash.
        folded: what a reader opens.
        wrap: for cells of text.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    folded: str = ""
    wrap: bool = False

    def as_html(self) -> str:
        head = "".join(f"<th>{_breakable(c)}</th>" for c in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{_breakable(shown(v))}</td>" for v in row) + "</tr>"
            for row in self.rows
        )
        kind = ' class="wrap"' if self.wrap else ""
        table = f'<div class="scroll"><table{kind}><tr>{head}</tr>{body}</table></div>'
        if self._width() > _PHONE:
            table += '<p class="soft small">The table scrolls sideways.</p>'
        if not self.folded:
            return table
        return f"<details><summary>{html.escape(self.folded)}</summary>{table}</details>"

    def _width(self) -> int:
        """About how wide it is on a phone, where it is as narrow as its words allow."""
        letters = [max(map(len, re.split(r"(?<=_)| ", name))) for name in self.columns]
        for row in self.rows:
            for index, value in enumerate(row):
                parts = shown(value).split("_")
                least = max(map(len, parts)) + (len(parts) > 1)
                if self.wrap:
                    least = _FIRST_COLUMN  # No less, either.
                elif not index:
                    least = min(least, _FIRST_COLUMN)
                letters[index] = max(letters[index], least)
        return sum(_LETTER * count + _PADDING for count in letters)


@dataclass(frozen=True)
class Card:
    """One image of the data set and its captions.

    Attributes:
        png: the image.
        title: above.
        lines: pairs of who and what; a third element tells whether it is right.
    """

    png: bytes
    title: str
    lines: Sequence[tuple[str, str, bool]]

    def as_html(self) -> str:
        rows = "".join(
            f"<dt>{html.escape(who)}</dt>"
            f"<dd{' class=right' if right else ''}>{html.escape(what)}</dd>"
            for who, what, right in self.lines
        )
        alt = html.escape(self.title)
        return (
            f'<div class="card"><img alt="{alt}" src="{_data(self.png)}"><strong>{alt}</strong>'
            f"<dl>{rows}</dl></div>"
        )


@dataclass(frozen=True)
class Cards:
    """Cards in as many columns as fit."""

    cards: Sequence[Card]

    def as_html(self) -> str:
        return '<div class="cards">' + "".join(card.as_html() for card in self.cards) + "</div>"


Block = Text | Table | Pictures | Cards


@dataclass(frozen=True)
class Section:
    """One analysis.

    Attributes:
        name: of the analysis; a section of this name is replaced.
        title: heading.
        subject: what was analysed, with which data.
        blocks: the content, in order.
    """

    name: str
    title: str
    subject: str
    blocks: Sequence[Block]

    def as_html(self) -> str:
        body = "\n".join(block.as_html() for block in self.blocks)
        return (
            f'<section id="{self.name}">\n<h2>{html.escape(self.title)}</h2>\n'
            f'<p class="soft">{html.escape(self.subject)}</p>\n{body}\n</section>\n'
        )


def write(path: Path, section: Section, *, flag: str = "output_dir") -> None:
    """Puts a section into a page, which is made if it is not there.

    Raises:
        InputError: if another program made the file.
    """
    sections = sections_of(path, flag=flag)
    sections[section.name] = section.as_html()
    write_atomically(path, _page(sections))


def sections_of(path: Path, *, flag: str = "output_dir") -> dict[str, str]:
    """The sections of a page by name, in order; none if there is no page yet.

    Raises:
        InputError: if another program made the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--{flag}: {path} cannot be read: {error}") from error
    if _MARK not in text:
        raise InputError(
            f"--{flag}: {path} was not made by this program; choose another folder or remove it"
        )
    return {match["name"]: match["body"] for match in _SECTION.finditer(text)}


def shown(value: object) -> str:
    """A value as tables show it."""
    if value is None or (isinstance(value, float) and value != value):
        return "–"  # noqa: RUF001
    if isinstance(value, float):
        if value and abs(value) < 5e-4:
            return f"{value:.1e}"
        return f"{value:.3f}"
    return str(value)


def percent(fraction: float | None) -> str:
    """A fraction as tables show it."""
    if fraction is None or fraction != fraction:
        return "–"  # noqa: RUF001
    return f"{100 * fraction:.2f} %"


def _page(sections: dict[str, str]) -> str:
    heading = "What the student learned"
    if _COMPARING.issuperset(sections):
        first = _TITLE.search(next(iter(sections.values())))
        heading = first[1] if first else heading
    links = []
    for name, body in sections.items():
        match = _TITLE.search(body)
        links.append(f'<a href="#{name}">{match[1] if match else name}</a>')
    menu = f"<nav>{''.join(links)}</nav>" if len(links) > 1 else ""
    marked = "".join(
        f"<!-- section {name} -->\n{body}<!-- end of section {name} -->\n"
        for name, body in sections.items()
    )
    return (
        f'<!doctype html>\n{_MARK}\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{heading}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{heading}</h1>\n{menu}</header>\n"
        f"<main>\n{marked}</main>\n</body>\n</html>\n"
    )


def _breakable(text: str) -> str:
    """Escaped; names such as distillation_0_last may go on in the next line after each _."""
    return html.escape(text).replace("_", "_<wbr>")


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
