"""Draws docs/token_modules.svg, the picture of the token modules; needs the standard library only.

Usage: python -m tools.draw_token_modules
"""

# ruff: noqa: RUF001 (the picture shows mathematical signs)

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from tools import no_flags

TARGET = Path(__file__).resolve().parent.parent / "docs" / "token_modules.svg"
WIDTH, HEIGHT = 1200, 800
CELL = 16  # Side of one matrix entry.
ROWS, COLUMNS = 4, 6  # How P patches and N channels are drawn.

# Okabe and Ito's colours, which colour-blind readers can tell apart, on a background of its own:
# so the picture reads the same on a light and on a dark page.
PAPER, INK, GREY, LINE = "#ffffff", "#1f2328", "#57606a", "#8c959f"
BACKBONE, BACKBONE_EDGE = "#eaf2fb", "#0072b2"
SPATIAL, SPATIAL_EDGE = "#f6c244", "#a86a00"
CHANNEL, CHANNEL_EDGE = "#63c7a4", "#00674a"
FEATURES, MODULE = "#cfe3f5", "#f6f8fa"
TARGET_FILL, TARGET_EDGE = "#fbe9e2", "#b5480f"


def draw() -> str:
    """The whole picture as SVG text."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" '
        "font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\">",
        "<title>Where the token sets read, and what is inside one</title>",
        _markers(),
        f'<rect x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="12" fill="{PAPER}" '
        f'stroke="{LINE}"/>',
        *_overview(),
        *_inside(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _overview() -> Iterable[str]:
    """The backbone from left to right, and below it two token sets that read it."""
    y, middle = 100, 126
    yield _text(40, 44, "Where the token sets read", size=20, bold=True)
    yield _text(
        40,
        68,
        "Token sets read features and write nothing back: the class head computes what it would "
        "without them.",
        fill=GREY,
    )

    boxes = [
        (40, 80, "image"),
        (160, 120, "patch embedding"),
        (320, 80, "block 0"),
        (460, 110, "block ⌊2d/3⌋"),
        (630, 110, "block d−1"),
        (780, 110, "norm, pool"),
        (930, 100, "class head"),
    ]
    for left, width, label in boxes:
        first = label == "image"
        fill, edge = (PAPER, LINE) if first else (BACKBONE, BACKBONE_EDGE)
        words = ["patch", "embedding"] if label.startswith("patch") else [label]
        yield _box(left, y, width, 52, words, fill=fill, edge=edge)
    yield _target(1070, y + 6, 100, 40, "labels")
    for (left, width, _), (following, _, _) in itertools.pairwise(boxes):
        if following in (460, 630):
            yield _arrow([(left + width, middle), (left + width + 14, middle)], head=False)
            gap = (left + width + following) / 2
            yield _text(gap, middle + 4, "…", anchor="middle", size=18)
            yield _arrow([(following - 14, middle), (following, middle)])
        else:
            yield _arrow([(left + width, middle), (following, middle)])
    yield _arrow([(1030, middle), (1070, middle)])

    columns = ((515, 0, "intermediate site", "small"), (685, 1, "last site", "large"))
    for centre, teacher, site, size in columns:
        yield _arrow([(centre, 152), (centre, 216)], dashed=True)
        yield _box(centre - 76, 216, 152, 48, [f"token set {teacher}"], fill=MODULE, edge=INK)
        yield _arrow([(centre, 264), (centre, 288)])
        yield _box(centre - 76, 288, 152, 36, [f"head {teacher}"], fill=MODULE, edge=INK)
        yield _arrow([(centre, 324), (centre, 348)])
        yield _target(centre - 76, 348, 152, 36, f"teacher {teacher} ({size})")
        anchor, side = ("end", centre - 12) if teacher == 0 else ("start", centre + 12)
        yield _text(side, 190, site, anchor=anchor, fill=GREY)

    yield _text(40, 216, "one token set per teacher and site", fill=GREY)
    yield _arrow([(40, 240), (92, 240)], dashed=True)
    yield _text(102, 245, "reads only", fill=GREY)
    yield _arrow([(40, 268), (92, 268)])
    yield _text(102, 273, "feeds", fill=GREY)
    yield _target(40, 286, 52, 22, "")
    yield _text(102, 302, "what an output must match", fill=GREY)
    yield _text(790, 238, "Training", bold=True)
    yield _text(790, 260, "(1 − α) · CE(class head, labels)", fill=INK)
    yield _text(790, 282, "+ α · sum of w_m · D(head m, teacher m)", fill=INK)
    yield _text(790, 320, "Prediction", bold=True)
    yield _text(790, 342, "(class head + mean of the other heads) / 2", fill=INK)


def _inside() -> Iterable[str]:
    """One token set: the spatial branch above, the channel branch below, MINE between."""
    yield (
        f'<rect x="24" y="412" width="{WIDTH - 48}" height="{HEIGHT - 436}" rx="10" '
        f'fill="{MODULE}" stroke="{LINE}"/>'
    )
    yield _text(40, 442, "Inside one token set", size=20, bold=True)
    upper, centre, lower = 520, 600, 682

    left, top = 56, centre - ROWS * CELL / 2
    yield _text(left + COLUMNS * CELL / 2, top - 30, "features z", anchor="middle")
    yield _text(left + COLUMNS * CELL / 2, top - 12, "P × N", anchor="middle", fill=GREY)
    yield from _grid(left, top, ROWS, COLUMNS, FEATURES, BACKBONE_EDGE)
    right = left + COLUMNS * CELL
    yield _text(left + COLUMNS * CELL / 2, top + ROWS * CELL + 22, "of a block", anchor="middle")
    for y in (upper, lower):
        yield _arrow(
            [(right + 4, centre), (right + 34, centre), (right + 34, y), (216, y)], dashed=True
        )

    grid_left, grid_right = 220, 220 + COLUMNS * CELL
    spatial_top = upper - (ROWS + 1) * CELL / 2
    yield _text(grid_left, spatial_top - 12, "T_S is row P+1")
    yield from _grid(grid_left, spatial_top, ROWS, COLUMNS, FEATURES, BACKBONE_EDGE)
    spatial_row = spatial_top + ROWS * CELL
    yield from _grid(grid_left, spatial_row, 1, COLUMNS, SPATIAL, SPATIAL_EDGE)
    channel_top = lower - ROWS * CELL / 2
    yield _text(grid_left, channel_top - 12, "T_C is column N+1")
    yield from _grid(grid_left, channel_top, ROWS, COLUMNS, FEATURES, BACKBONE_EDGE)
    yield from _grid(grid_right, channel_top, ROWS, 1, CHANNEL, CHANNEL_EDGE)

    plus = 690
    for y, start, words, edge in (
        (upper, grid_right, ["spatial MLP", "P+1 → N/2 → 1"], SPATIAL_EDGE),
        (lower, grid_right + CELL, ["channel MLP", "N+1 → 4N → 1"], CHANNEL_EDGE),
    ):
        yield _arrow([(start + 4, y), (366, y)])
        yield _box(366, y - 24, 110, 48, ["LayerNorm"], fill=PAPER, edge=edge)
        yield _arrow([(476, y), (506, y)])
        yield _box(506, y - 24, 144, 48, words, fill=PAPER, edge=edge)
        yield _arrow([(650, y), (plus - 14, y)])
        yield _circle(plus, y, 14, "+", edge=edge)

    row_y, below = spatial_row + CELL / 2, channel_top + ROWS * CELL
    yield _arrow(
        [
            (grid_right + 4, row_y),
            (340, row_y),
            (340, upper + 44),
            (plus, upper + 44),
            (plus, upper + 14),
        ],
        colour=SPATIAL_EDGE,
    )
    yield _arrow(
        [
            (grid_right + CELL / 2, below + 4),
            (grid_right + CELL / 2, lower + 52),
            (plus, lower + 52),
            (plus, lower + 14),
        ],
        colour=CHANNEL_EDGE,
    )
    yield _text(420, upper + 62, "residual: the token itself", fill=GREY)
    yield _text(420, lower + 70, "residual: the token itself", fill=GREY)

    token_left = 738
    token_middle = token_left + COLUMNS * CELL / 2
    yield _arrow([(plus + 14, upper), (token_left - 4, upper)])
    yield from _grid(token_left, upper - CELL / 2, 1, COLUMNS, SPATIAL, SPATIAL_EDGE)
    yield _text(token_middle, upper - 18, "T_S   1 × N", anchor="middle")
    yield _arrow([(plus + 14, lower), (token_middle - CELL / 2 - 4, lower)])
    yield from _grid(token_middle - CELL / 2, lower - 32, ROWS, 1, CHANNEL, CHANNEL_EDGE)
    yield _text(token_middle, lower + 52, "T_C   P × 1", anchor="middle")

    yield _circle(token_middle, centre - 8, 16, "ψ", edge=INK)
    yield _arrow([(token_middle, centre - 24), (token_middle, upper + 14)], both=True)
    yield _arrow([(token_middle, centre + 8), (token_middle, lower - 36)], both=True)
    yield _text(token_middle - 26, centre - 1, "MINE", anchor="end", bold=True)
    yield _text(token_middle - 26, centre + 17, "lowers I(T_S; T_C)", anchor="end", fill=GREY)

    strip, strip_top = 890, centre - (ROWS + COLUMNS) * CELL / 2
    split = strip_top + COLUMNS * CELL
    yield from _grid(strip, strip_top, COLUMNS, 1, SPATIAL, SPATIAL_EDGE)
    yield from _grid(strip, split, ROWS, 1, CHANNEL, CHANNEL_EDGE)
    yield _text(strip + CELL / 2, strip_top - 12, "concat", anchor="middle")
    yield _text(strip + CELL / 2, split + ROWS * CELL + 22, "N + P", anchor="middle", fill=GREY)
    into = strip - 4
    enter_spatial, enter_channel = strip_top + 3 * CELL, split + 2 * CELL
    spatial_end = token_left + COLUMNS * CELL + 4
    yield _arrow([(spatial_end, upper), (862, upper), (862, enter_spatial), (into, enter_spatial)])
    yield _arrow(
        [
            (token_middle + CELL / 2 + 4, lower),
            (862, lower),
            (862, enter_channel),
            (into, enter_channel),
        ]
    )
    yield _arrow([(strip + CELL + 4, centre), (944, centre)])
    yield _box(944, centre - 26, 88, 52, ["linear", "head"], fill=PAPER, edge=INK)
    yield _arrow([(1032, centre), (1064, centre)])
    yield _target(1064, centre - 26, 96, 52, "teacher's prediction")


def _markers() -> str:
    """Arrow heads, one per line colour."""
    shape = '<path d="M0 0 L10 5 L0 10 z" fill="{0}"/>'
    return (
        "<defs>"
        + "".join(
            f'<marker id="head{colour[1:]}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
            f'markerHeight="8" orient="auto-start-reverse" markerUnits="userSpaceOnUse">'
            f"{shape.format(colour)}</marker>"
            for colour in (INK, SPATIAL_EDGE, CHANNEL_EDGE)
        )
        + "</defs>"
    )


def _text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 15,
    anchor: str = "start",
    bold: bool = False,
    fill: str = INK,
) -> str:
    """One line of text; `T_S` gets a subscript."""
    lowered = (
        f'<tspan dy="4" font-size="{round(size * 0.75)}">\\1</tspan><tspan dy="-4">&#8203;</tspan>'
    )
    content = re.sub(r"_(\w)", lowered, escape(words))
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{fill}"'
        f'{weight} xml:space="preserve">{content}</text>'
    )


def _box(
    x: float, y: float, width: float, height: float, lines: list[str], *, fill: str, edge: str
) -> str:
    """A rounded box with centred lines."""
    first = y + height / 2 + 5 - 9 * (len(lines) - 1)
    texts = "".join(
        _text(x + width / 2, first + 18 * i, line, anchor="middle") for i, line in enumerate(lines)
    )
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{fill}" '
        f'stroke="{edge}" stroke-width="1.5"/>{texts}'
    )


def _target(x: float, y: float, width: float, height: float, words: str) -> str:
    """What an output is compared with; words are put on two lines if the box is high enough."""
    lines = words.split() if height >= 50 else [words]
    return _box(x, y, width, height, lines, fill=TARGET_FILL, edge=TARGET_EDGE)


def _circle(x: float, y: float, radius: float, sign: str, *, edge: str) -> str:
    return (
        f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{PAPER}" stroke="{edge}" '
        f'stroke-width="1.5"/>{_text(x, y + 6, sign, anchor="middle", size=18)}'
    )


def _grid(x: float, y: float, rows: int, columns: int, fill: str, edge: str) -> Iterable[str]:
    """A matrix of small squares."""
    for row in range(rows):
        for column in range(columns):
            yield (
                f'<rect x="{x + column * CELL:g}" y="{y + row * CELL:g}" width="{CELL}" '
                f'height="{CELL}" fill="{fill}" stroke="{edge}"/>'
            )


def _arrow(
    points: Sequence[tuple[float, float]],
    *,
    dashed: bool = False,
    head: bool = True,
    both: bool = False,
    colour: str = INK,
) -> str:
    """A line through points; dashed if it only reads."""
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    marker = f"url(#head{colour[1:]})"
    ends = f' marker-end="{marker}"' if head else ""
    ends += f' marker-start="{marker}"' if both else ""
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}{ends}/>'
    )


if __name__ == "__main__":
    no_flags.read(__doc__, program="python -m tools.draw_token_modules")
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(draw(), encoding="utf-8")
