"""How alike are the layers of two models: linear CKA over minibatches, as a heatmap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from std_keras.errors import InputError, Interrupted
from std_keras.research.analysis.cka import MinibatchCKA
from std_keras.research.analysis.layer_features import layer_outputs
from std_keras.research.studies import figures, page
from std_keras.research.studies.output import Result
from std_keras.research.studies.study import Study


def run(chosen: Study, parsed: Mapping[str, Any]) -> Result:
    """All layers of the model against all layers of the first other, or against themselves."""
    other = chosen.others[0] if chosen.others else chosen.subject
    if other.model is None:
        raise InputError(
            f"--against={other.name} is a SavedModel, whose layers cannot be reached; name a run "
            "directory, a .keras file or keras:NAME"
        )
    assert chosen.subject.model is not None
    first = layer_outputs(chosen.subject.model, which=parsed["layers"])
    second = layer_outputs(other.model, which=parsed["layers"])

    @tf.function
    def features(
        images: tf.Tensor, view: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        return (
            first(chosen.subject.inputs(images), training=False),
            second(other.inputs(view), training=False),
        )

    rows, columns = list(first.output), list(second.output)
    cka, examples = MinibatchCKA(len(rows), len(columns)), 0
    for batch in chosen.batches("test"):
        if chosen.stop():
            raise Interrupted("interrupted; nothing was written")
        kept = np.asarray(batch["weights"]) > 0
        if kept.sum() < 4:
            continue  # HSIC₁ needs four; at most three examples of the last batch are left out.
        ours, theirs = features(batch["images"], batch[other.view])
        cka.add(
            [ours[name].numpy()[kept] for name in rows],
            [theirs[name].numpy()[kept] for name in columns],
        )
        examples += int(kept.sum())
    if not cka.batches:
        raise InputError(
            f"--examples={parsed['examples']} is too few; minibatch CKA needs 4 or more"
        )
    values = cka.result()
    best = [
        {"layer": name, "nearest": columns[int(np.nanargmax(row))], "cka": float(np.nanmax(row))}
        for name, row in zip(rows, values, strict=True)
        if not np.isnan(row).all()
    ]
    picture = figures.heatmap(
        values,
        rows=rows,
        columns=columns,
        title="CKA of layers",
        row_title=chosen.subject.name,
        column_title=other.name,
        numbers=".2f" if max(len(rows), len(columns)) <= 16 else "",
        colors="magma",
        cell=0.33 if max(len(rows), len(columns)) <= 16 else 0.17,
    )
    layers = page.Picture(
        "layers",
        picture,
        "CKA of each pair.",
        max(520, figures.natural_width(picture)),
        small_letters=True,
    )
    unvarying = [n for n, row in zip(rows, values, strict=True) if np.isnan(row).all()]
    note = f" Layers that do not vary have no value: {', '.join(unvarying)}." if unvarying else ""
    return Result(
        section=page.Section(
            name="cka",
            title="Similarity of layers (CKA)",
            subject=f"{chosen.run.path} against {other.name}; {examples} test images of "
            f"{chosen.dataset.name} in {cka.batches} batches",
            blocks=[
                page.Text(
                    "1: the two layers hold the same representation, up to rotation and scale; 0: "
                    "nothing in common. Minibatch CKA with the unbiased HSIC (Nguyen et al. 2021, "
                    "arXiv 2010.15327, Eq. 3): values of unrelated layers scatter around 0, also "
                    "below." + note
                ),
                page.Pictures([layers], wide=True),
                page.Text("", title="Nearest layer of the other model"),
                page.Table(
                    [chosen.subject.name, f"nearest in {other.name}", "CKA"],
                    [[e["layer"], e["nearest"], e["cka"]] for e in best],
                ),
            ],
        ),
        figures={
            "model_dir": str(chosen.run.path),
            "against": other.name,
            "examples": examples,
            "batches": cka.batches,
            "rows": rows,
            "columns": columns,
            "cka": values,
            "nearest": best,
        },
    )
