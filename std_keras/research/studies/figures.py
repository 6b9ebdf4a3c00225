"""The pictures: arrays in, PNG out. Small enough that their letters can be read on a phone."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from std_keras.errors import InputError
from std_keras.extras import unusable

try:
    from matplotlib.figure import Figure
    from matplotlib.text import Text
except Exception as _error:  # The command says it in one sentence.
    _UNUSABLE: Exception | None = _error
else:
    _UNUSABLE = None

_DPI = 160
_INK = "#1c2430"
COLORS = ("#0b5cad", "#d1600e", "#12733a", "#8a3ab9", "#b3261e", "#6b5b00", "#00808a", "#5b6675")
_STYLE = {"fontsize": 9, "color": _INK}


def available() -> bool:
    """Whether pictures can be drawn here."""
    return _UNUSABLE is None


def require() -> None:
    """Raises InputError if pictures cannot be drawn here."""
    if _UNUSABLE is not None:
        raise InputError(
            unusable("matplotlib", _UNUSABLE, needed_by="a page with pictures")
        ) from _UNUSABLE


def natural_width(png: bytes) -> int:
    """The width in CSS pixels at which the letters of a picture have their size in points."""
    return int.from_bytes(png[16:20], "big") * 96 // _DPI  # The header of a PNG is fixed.


def heatmap(
    values: np.ndarray,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    row_title: str = "",
    column_title: str = "",
    limits: tuple[float | None, float | None] = (0.0, 1.0),
    numbers: str = "",
    colors: str = "viridis",
    cell: float = 0.3,
) -> bytes:
    """A matrix with names at its sides; `numbers` is the format of the cells' numbers, if any."""
    height = max(2.2, cell * len(rows) + 0.09 * max(map(len, columns)) + 0.6)
    width = max(3.6, cell * len(columns) + 0.085 * max(map(len, rows)) + 1.1)
    figure, axes = _axes(width, height, title)
    image = axes.imshow(values, cmap=colors, vmin=limits[0], vmax=limits[1], aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_xlabel(column_title, **_STYLE)
    axes.set_ylabel(row_title, **_STYLE)
    if numbers:
        low, high = image.get_clim()
        for i, j in np.ndindex(values.shape):
            bright = (values[i, j] - low) / max(high - low, 1e-12) > 0.6
            shade = "#000" if bright == (colors != "Blues") else "#fff"
            text = format(values[i, j], numbers)
            axes.text(j, i, text, ha="center", va="center", fontsize=7.5, color=shade)
    else:
        figure.colorbar(image, ax=axes, fraction=0.05, pad=0.03).ax.tick_params(labelsize=8)
    return _png(figure)


def bars(
    groups: Mapping[str, Mapping[str, tuple[float, float]]], *, title: str, axis: str
) -> bytes:
    """Horizontal bars: by group, by name, a value and its error (0 for none)."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    labels = list(groups)
    height = 0.9 + len(labels) * (0.2 * len(names) + 0.16) + 0.18 * len(names)
    figure, axes = _axes(4.6, height, title)
    step = 1.0 / (len(names) + 0.8)
    for index, name in enumerate(names):
        chosen = [(g, *groups[g][name]) for g in labels if name in groups[g]]
        axes.barh(
            [labels.index(g) + index * step for g, _, _ in chosen],
            [value for _, value, _ in chosen],
            height=0.86 * step,
            xerr=[error for _, _, error in chosen] if any(e for _, _, e in chosen) else None,
            error_kw={"lw": 0.8},
            color=COLORS[index % len(COLORS)],
            label=name,
        )
    middle = step * (len(names) - 1) / 2
    axes.set_yticks([i + middle for i in range(len(labels))], labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(axis, **_STYLE)
    axes.grid(axis="x", lw=0.4, alpha=0.6)
    axes.set_axisbelow(True)
    if len(names) > 1:
        _legend_below(figure, axes, len(names))
    return _png(figure)


def scatter(
    points: Mapping[str, Sequence[tuple[str, float, float]]],
    *,
    title: str,
    x: str,
    y: str,
) -> bytes:
    """Named points in groups; the group has the colour, the name the marker."""
    figure, axes = _axes(4.6, 4.4, title)
    names = list(dict.fromkeys(name for group in points.values() for name, _, _ in group))
    markers = "osD^vP*X<>"
    for index, members in enumerate(points.values()):
        for name, px, py in members:
            axes.plot(
                px,
                py,
                markers[names.index(name) % len(markers)],
                color=COLORS[index % len(COLORS)],
                ms=7,
                mec="white",
                mew=0.5,
            )
    for index, group in enumerate(points):
        axes.plot([], [], "s", color=COLORS[index % len(COLORS)], label=group)
    for index, name in enumerate(n for n in names if n):
        axes.plot([], [], markers[index % len(markers)], color="#888", label=name)
    axes.set_xlabel(x, **_STYLE)
    axes.set_ylabel(y, **_STYLE)
    axes.grid(lw=0.4, alpha=0.6)
    _legend_below(figure, axes, len(points) + len(names))
    return _png(figure)


def lines(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    x: str,
    y: str,
    levels: Mapping[str, float] | None = None,
) -> bytes:
    """Curves by name, each (x values, y values), and dashed horizontal `levels`."""
    figure, axes = _axes(4.6, 3.4 + 0.12 * (len(curves) + len(levels or {})), title)
    for index, (name, (xs, ys)) in enumerate(curves.items()):
        marker = "o" if len(xs) < 15 else None
        color = COLORS[index % len(COLORS)]
        axes.plot(xs, ys, color=color, lw=1.5, marker=marker, ms=3.5, label=name)
    for index, (name, level) in enumerate((levels or {}).items(), start=len(curves)):
        axes.axhline(level, color=COLORS[index % len(COLORS)], lw=1.2, ls="--", label=name)
    axes.set_xlabel(x, **_STYLE)
    axes.set_ylabel(y, **_STYLE)
    axes.grid(lw=0.4, alpha=0.6)
    _legend_below(figure, axes, len(curves) + len(levels or {}))
    return _png(figure)


def reliability(diagram: Any, *, title: str) -> bytes:
    """A reliability diagram, with the shares of images.

    Args:
        diagram: from `std_keras.research.analysis.calibration`.
        title: of the picture.
    """
    figure = Figure(figsize=(3.6, 4.1), layout="constrained")
    figure.suptitle(title, fontsize=10, color=_INK)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    width = float(diagram.edges[1] - diagram.edges[0])
    centres = diagram.edges[:-1] + width / 2
    filled = diagram.count > 0
    axes.bar(
        centres[filled], diagram.accuracy[filled], 0.92 * width, color=COLORS[0], label="accuracy"
    )
    gaps = (diagram.confidence - diagram.accuracy)[filled]
    axes.bar(
        centres[filled],
        gaps,
        0.92 * width,
        bottom=diagram.accuracy[filled],
        facecolor="none",  # Over the bar, where the confidence is the smaller of both.
        edgecolor=COLORS[4],
        hatch="////",
        label="gap to the confidence",
    )
    axes.plot([0, 1], [0, 1], "--", color="#555", lw=1)
    _legend_below(figure, axes, 2)
    axes.text(0.03, 0.93, f"ECE {diagram.expected_error:.3f}", fontsize=9, va="top")
    axes.set_ylabel("accuracy", **_STYLE)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    below.bar(centres, diagram.count / diagram.count.sum(), 0.92 * width, color="#5b6675")
    below.set_ylabel("share", **_STYLE)
    below.set_xlabel("confidence", **_STYLE)
    for part in (axes, below):
        part.tick_params(labelsize=8)
    return _png(figure)


def histogram(values: Mapping[str, np.ndarray], *, title: str, x: str, bins: int = 40) -> bytes:
    """Densities of several sets of values over common bins."""
    figure, axes = _axes(4.6, 3.2 + 0.12 * len(values), title)
    low = min(float(v.min()) for v in values.values())
    high = max(float(v.max()) for v in values.values())
    edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
    for index, (name, v) in enumerate(values.items()):
        axes.hist(
            v, edges, density=True, histtype="step", lw=1.5, color=COLORS[index % 8], label=name
        )
    axes.set_xlabel(x, **_STYLE)
    axes.set_ylabel("density", **_STYLE)
    _legend_below(figure, axes, len(values))
    return _png(figure)


def image_grid(
    images: Sequence[np.ndarray],
    *,
    title: str,
    columns: int = 8,
    signed: bool = True,
    captions: Sequence[str] = (),
) -> bytes:
    """Small images in a grid: (h, w) in red and blue around 0 if `signed`, or (h, w, 3) in 0..1."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    size = 4.6 / columns if columns > 4 else 1.15
    extra = 0.55 if captions else 0.0
    figure = Figure(figsize=(size * columns, (size + extra) * rows + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=10, color=_INK)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for index, image in enumerate(images):
        axes = grid.flat[index]
        if signed and image.ndim == 2:
            limit = float(np.abs(image).max()) or 1.0
            axes.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        else:
            axes.imshow(image, cmap="gray", interpolation="nearest")
        if captions:
            axes.set_title(captions[index], fontsize=6, color=_INK)
    return _png(figure)


def raw_png(image: np.ndarray) -> bytes:
    """An image of the data set (H, W, C) uint8 as it is."""
    import tensorflow as tf

    return bytes(tf.io.encode_png(image).numpy())


def _axes(width: float, height: float, title: str) -> tuple[Any, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10, color=_INK)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _legend_below(figure: Any, axes: Any, entries: int) -> None:
    columns = 1 if entries > 4 else 2
    figure.legend(loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def _png(figure: Any) -> bytes:
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # The names of classes are not formulas: "$5".
    file = io.BytesIO()
    with warnings.catch_warnings():
        # Letters that the font lacks are boxes; the tables beside the picture have the names.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        # Without metadata, which names the version: the same figures give the same bytes.
        figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return file.getvalue()
