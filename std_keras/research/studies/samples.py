"""Mistakes and single predictions of several runs: confusions, worst classes, sample images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from std_keras.research.analysis import agreement, disagreement
from std_keras.research.analysis.predictions import Predictions
from std_keras.research.studies import figures, page

_WORST = 10
_NAMED = 24  # A confusion matrix of at most this many classes has their names at its sides.


@dataclass(frozen=True)
class Sampled:
    """Predictions of several runs for the same test images.

    Attributes:
        said: logits of every head of every run.
        main: the label of each run's main head.
        label_names: of the classes.
        numbers: of the examples to show.
        images: those examples.
    """

    said: Predictions
    main: Sequence[str]
    label_names: tuple[str, ...]
    numbers: np.ndarray
    images: Sequence[np.ndarray]

    def as_dict(self) -> dict[str, Any]:
        """Accuracies of all heads, and confusions of the main heads, for JSON."""
        return {
            "examples": self.said.size,
            "top1": {
                name: agreement.accuracy(logits, self.said.labels)
                for name, logits in self.said.logits.items()
            },
            "class_accuracy": {
                name: dict(zip(self.label_names, row, strict=True))
                for name, row in zip(self.main, self.by_class(), strict=True)
            },
            "most_confused": {
                name: [
                    {"class": self.label_names[i], "taken_for": self.label_names[j], "images": n}
                    for i, j, n in self.confused(name)
                ]
                for name in self.main
            },
        }

    def confusion(self, name: str) -> np.ndarray:
        """(K, K) counts of one head."""
        decisions = self.said.logits[name].argmax(axis=1)
        count = len(self.label_names)
        return disagreement.confusion_matrix(decisions, self.said.labels, num_classes=count)

    def confused(self, name: str) -> list[tuple[int, int, int]]:
        """The most frequent mistakes of one head: class, taken for, images."""
        matrix = self.confusion(name)
        np.fill_diagonal(matrix, 0)
        order = np.argsort(-matrix, axis=None, kind="stable")[:_WORST]
        pairs = [divmod(int(flat), len(matrix)) for flat in order]
        return [(i, j, int(matrix[i, j])) for i, j in pairs if matrix[i, j]]

    def by_class(self) -> np.ndarray:
        """(runs, K) accuracies of the main heads."""
        decisions = np.stack([self.said.logits[name].argmax(axis=1) for name in self.main])
        count = len(self.label_names)
        return disagreement.class_accuracy(decisions, self.said.labels, num_classes=count)


def class_blocks(sampled: Sampled) -> list[page.Block]:
    """Confusion matrices, the most frequent confusions, and the worst classes."""
    named = len(sampled.label_names) <= _NAMED
    step = 1 if named else max(1, len(sampled.label_names) // 12)
    sides = [n if i % step == 0 else "" for i, n in enumerate(sampled.label_names)]
    pictures = []
    for index, name in enumerate(sampled.main):
        matrix = sampled.confusion(name).astype(float)
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1.0)
        drawn = figures.heatmap(
            shares,
            rows=sides,
            columns=sides,
            title=name,
            row_title="true class",
            column_title="decision",
            limits=(0.0, 1.0 if named else 0.5),
            numbers=".2f" if len(sampled.label_names) <= 10 else "",
            colors="Blues",
            cell=0.36 if named else 0.045,
        )
        caption = f"{name}: share of the images of a class (row) with each decision (column)."
        if not named:
            caption += f" Every {step}th class is named; dark from a half on."
        pictures.append(page.Picture(f"confusion_{index}", drawn, caption, small_letters=named))
    rows = [
        [name, sampled.label_names[i], sampled.label_names[j], count]
        for name in sampled.main
        for i, j, count in sampled.confused(name)[:5]
    ]
    by_class = sampled.by_class()
    order = np.argsort(np.where(np.isnan(by_class[0]), 2.0, by_class[0]), kind="stable")
    counts = np.bincount(sampled.said.labels, minlength=len(sampled.label_names))

    def classes(chosen: np.ndarray) -> list[list[object]]:
        return [
            [sampled.label_names[k], int(counts[k]), *(page.percent(v) for v in by_class[:, k])]
            for k in chosen
        ]

    columns = ["class", "images", *sampled.main]
    return [
        page.Text("", title="Confusions"),
        page.Pictures(pictures),
        page.Table(["run", "class", "taken for", "images"], rows),
        page.Text(f"By the first run, {sampled.main[0]}.", title="Worst classes"),
        page.Table(columns, classes(order[:_WORST])),
        page.Table(columns, classes(order), folded=f"all {len(order)} classes, worst first"),
    ]


def sample_blocks(sampled: Sampled) -> list[page.Block]:
    """Cards of evenly spaced test images, not chosen by their predictions."""
    cards = []
    for number, image in zip(sampled.numbers, sampled.images, strict=True):
        truth = int(sampled.said.labels[number])
        lines = []
        for name, logits in sampled.said.logits.items():
            p = agreement.softmax(logits[number])
            best = int(p.argmax())
            lines.append(
                (name, f"{sampled.label_names[best]} {100 * p[best]:.0f} %", best == truth)
            )
        title = f"{sampled.label_names[truth]} (no. {number})"
        cards.append(page.Card(figures.raw_png(image), title, lines))
    if not cards:
        return []
    return [
        page.Text(
            "Evenly spaced test images, not chosen by their predictions. Right answers are green.",
            title="Sample predictions",
        ),
        page.Cards(cards),
    ]
