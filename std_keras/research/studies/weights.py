"""The weights as pictures: what each block mixes, what the stem sees, and norms by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from std_keras.errors import Interrupted
from std_keras.research.analysis import mixing_filters
from std_keras.research.studies import figures, page
from std_keras.research.studies.output import Result
from std_keras.research.studies.study import Study


def run(chosen: Study, parsed: Mapping[str, Any]) -> Result:
    """Grids of filters, their locality by block, and a table of norms."""
    count = parsed["filters"]
    model = chosen.subject.model
    assert model is not None
    mixing = mixing_filters.token_mixing_filters(model)
    stem = mixing_filters.embedding_filters(model)
    norms = mixing_filters.weight_norms(model)
    shares = {name: mixing_filters.locality(filters) for name, filters in mixing.items()}
    blocks: list[page.Block] = []
    if mixing:
        blocks.append(
            page.Text(
                "Each small image is one hidden unit of a block's token mixing, with one weight "
                "per patch (red positive, blue negative, each scaled by itself), as in Tolstikhin "
                "et al. 2021, arXiv 2105.01601, Figure 5. The share is the part of the image that "
                "a unit uses: one patch alone is 1/P, random weights are about 0.33.",
                title="Token-mixing filters",
            )
        )
        blocks.append(
            page.Pictures(
                [
                    page.Picture(
                        f"mixing_{name}",
                        figures.image_grid(list(filters[:count]), title=name),
                        f"{name}: {min(count, len(filters))} of {len(filters)} units, mean share "
                        f"{shares[name].mean():.2f}.",
                    )
                    for name, filters in mixing.items()
                ]
            )
        )
    if chosen.stop():
        raise Interrupted("interrupted; nothing was written")
    if stem is not None:
        pictures = mixing_filters.as_pictures(stem[:count])
        blocks.append(page.Text("What each channel of the stem looks for.", title="Embedding"))
        blocks.append(
            page.Pictures(
                [
                    page.Picture(
                        "stem",
                        figures.image_grid(list(pictures), title="stem"),
                        f"{len(pictures)} of {len(stem)} filters of {stem.shape[1]}x"
                        f"{stem.shape[2]} pixels, each scaled by itself.",
                    )
                ]
            )
        )
    blocks.append(page.Text("Root mean square of each trainable weight.", title="Norms"))
    blocks.append(page.Pictures([_norms_picture(norms)]))
    blocks.append(
        page.Table(
            ["weight", "shape", "norm", "RMS", "largest"],
            [
                [n["name"], "x".join(map(str, n["shape"])), n["norm"], n["rms"], n["largest"]]
                for n in norms
            ],
            folded=f"all {len(norms)} weights",
        )
    )
    return Result(
        section=page.Section(
            name="weights", title="Weights", subject=str(chosen.run.path), blocks=blocks
        ),
        figures={
            "model_dir": str(chosen.run.path),
            "locality": {name: float(np.mean(share)) for name, share in shares.items()},
            "norms": norms,
        },
    )


def _norms_picture(norms: list[dict[str, Any]]) -> page.Picture:
    """Root mean squares of the matrices, of all layers together, by layer."""
    squares: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for row in norms:
        if len(row["shape"]) < 2:
            continue  # Biases and scales are on other scales.
        layer = str(row["name"]).split("/")[0]
        squares[layer] = squares.get(layer, 0.0) + row["norm"] ** 2
        sizes[layer] = sizes.get(layer, 0) + int(np.prod(row["shape"]))
    values = {name: {"RMS": (float(np.sqrt(squares[name] / sizes[name])), 0.0)} for name in squares}
    picture = figures.bars(values, title="Size of the weights (matrices only)", axis="RMS")
    return page.Picture("norms", picture, "Root mean square of the matrices of each layer.")
