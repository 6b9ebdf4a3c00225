"""The section of the page on tokens: what `tokens.py` found, in pictures, tables and words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from std_keras.research.analysis.token_information import HeldOutBound
from std_keras.research.studies import figures, page

_READ = {"spatial": "patches", "channel": "channels"}
_SUMMARY = ("mean", "mean_magnitude", "mean_of_largest")


def similarity_blocks(
    similarity: Mapping[str, Any],
    maps: Mapping[str, np.ndarray],
    spreads: Mapping[str, np.ndarray],
    between: list[dict[str, Any]],
    history: list[dict[str, Any]],
) -> list[page.Block]:
    """Cosines of the tokens with what they read, over training, and with each other."""
    pictures = [
        page.Picture(
            "cosines",
            figures.histogram(spreads, title="Tokens and what they read", x="cosine"),
            "Cosines of spatial tokens with patches, and of channel tokens with channels.",
        )
    ]
    if history:
        curves: dict[str, tuple[list[float], list[float]]] = {}
        for row in history:
            xs, ys = curves.setdefault(f"{row['token_set']} {row['kind']}", ([], []))
            xs.append(row["step"])
            ys.append(row["mean_magnitude"])
        pictures.append(
            page.Picture(
                "history",
                figures.lines(curves, title="Over training", x="step", y="mean |cosine|"),
                "Mean magnitude of the cosines at the start and at the checkpoints that were kept.",
            )
        )
    for name, image in maps.items():
        side = [str(i) for i in range(len(image))]
        drawn = figures.heatmap(
            image,
            rows=side,
            columns=side,
            title=f"{name}: T_S and each patch",
            limits=(None, None),
            colors="magma",
        )
        pictures.append(
            page.Picture(
                f"map_{name}", drawn, "Mean cosine of T_S with the patch at each place.", 420
            )
        )
    rows = [
        [name, kind, _READ[kind], *(found[kind][k] for k in _SUMMARY)]
        for name, found in similarity.items()
        for kind in _READ
        if kind in found
    ]
    dependence = [
        [name, found["cka_spatial_channel"]]
        for name, found in similarity.items()
        if "cka_spatial_channel" in found
    ]
    blocks: list[page.Block] = [
        page.Text(
            "A spatial token T_S is compared with the patches it read, a channel token T_C with "
            "the channels: 1 is a copy of the direction, 0 unrelated. DeiT has 0.06 between its "
            "class and distillation token at the input and 0.93 at the last layer (Touvron et al. "
            "2021, arXiv 2012.12877, section 4)."
        ),
        page.Pictures(pictures),
        page.Table(["token set", "token", "with", "mean", "mean |cos|", "mean of largest"], rows),
    ]
    if between:
        blocks += [
            page.Text("Tokens of one kind of two sets.", title="Between token sets"),
            page.Table(
                ["first", "second", "token", "cosine", "CKA"],
                [[r["first"], r["second"], r["kind"], r["cosine"], r["cka"]] for r in between],
            ),
        ]
    if dependence:
        blocks += [
            page.Text(
                "T_S and T_C of one set live in spaces of different size and have no cosine; "
                "linear CKA over the images says whether one follows from the other.",
                title="T_S and T_C of one set",
            ),
            page.Table(["token set", "CKA of T_S and T_C"], dependence),
        ]
    return blocks


def information_blocks(
    information: Mapping[str, tuple[HeldOutBound | None, float | None]],
) -> list[page.Block]:
    """The held-out bounds, if any were measured."""
    measured = {name: pair for name, pair in information.items() if pair[0] is not None}
    if not measured:
        return []
    pictures, rows = [], []
    for name, (bound, logged) in measured.items():
        assert bound is not None
        drawn = figures.lines(
            {
                "images the critic learns from": (bound.steps, bound.training),
                "images that choose the step": (bound.steps, bound.choosing),
            },
            title=name,
            x="step of the new critic",
            y="bound in nats",
            levels={"held out": bound.bound},
        )
        pictures.append(
            page.Picture(f"information_{name}", drawn, f"{name}: bounds on I(T_S; T_C).")
        )
        rows.append([name, bound.bound, bound.examples, math.log(bound.examples), logged])
    return [
        page.Text(
            "A new critic learns on half of the images; the Donsker-Varadhan bound (Belghazi et "
            "al. 2018, arXiv 1801.04062) on images that it never saw counts only what it really "
            "found. Of n images about log n nats can be shown at most. The logged value is the "
            "last of training, from the batches its critic learned on.",
            title="Mutual information of T_S and T_C",
        ),
        page.Pictures(pictures),
        page.Table(["token set", "held out", "images", "log n", "logged in training"], rows),
    ]


def removal_blocks(removal: list[dict[str, Any]]) -> list[page.Block]:
    """The table of what is lost."""
    return [
        page.Text(
            "A token is removed by putting its mean over the images in its place, a set by leaving "
            "out its head. Changed: the fraction of decisions that are others then; KL: of the "
            "prediction before from that after, in nats.",
            title="What removing changes",
        ),
        page.Table(
            ["head", "removed", "top-1", "changed", "KL"],
            [
                [
                    r["head"],
                    r["removed"],
                    page.percent(r["top1"]),
                    page.percent(r["changed"]),
                    r["kl"],
                ]
                for r in removal
            ],
        ),
    ]
