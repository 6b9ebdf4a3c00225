"""Who decides like whom: any set of models and heads, the ground truth included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from std_keras.research.analysis import agreement, disagreement, predictions
from std_keras.research.studies import figures, page
from std_keras.research.studies.output import Result
from std_keras.research.studies.study import Study

TRUTH = "ground truth"


def run(chosen: Study, parsed: Mapping[str, Any]) -> Result:
    """The disagreement matrix, accuracy by class, and the images on which the heads differ most."""
    said = predictions.collect(chosen.classifiers, chosen.batches("test"), stop=chosen.stop)
    names = list(said.logits)
    decisions = said.decisions()
    matrix = disagreement.disagreement_matrix(np.stack([said.labels, *decisions]))
    labels = chosen.dataset.label_names
    by_class = disagreement.class_accuracy(decisions, said.labels, num_classes=len(labels))
    # The heads of the model itself if it has several, else everybody.
    own = [n for n in names if n in {chosen.subject.label(h) for h in chosen.subject.heads}]
    voters = own if len(own) > 1 else names
    contested, cards, sheet = [], [], []
    if len(voters) > 1 and parsed["images"]:
        spread = disagreement.divergence([said.logits[name] for name in voters])
        order = np.argsort(-spread, kind="stable")[: parsed["images"]]
        pictures = _images(chosen, order)
        for index, image in zip(order, pictures, strict=True):
            card, entry = _contested(said, int(index), image, labels, float(spread[index]))
            cards.append(card)
            contested.append(entry)
        sheet = [
            page.Picture(
                "contested",
                figures.image_grid(
                    [image.squeeze() / 255.0 for image in pictures],
                    title="Images on which the heads differ most",
                    columns=4,
                    signed=False,
                    captions=[entry["caption"] for entry in contested],
                ),
                "The contested images with the heads' decisions.",
            )
        ]
    everybody = [TRUTH, *names]
    blocks: list[page.Block] = [
        page.Text(
            "The fraction of test images on which two of them decide differently; the row of the "
            "ground truth holds the error rates. In DeiT's analysis the distilled head is nearer "
            "to the convnet it learned from than the class head is (Touvron et al. 2021, arXiv "
            "2012.12877, Table 4)."
        ),
        page.Pictures(
            [
                page.Picture(
                    "matrix",
                    figures.heatmap(
                        matrix,
                        rows=everybody,
                        columns=everybody,
                        title="Disagreement",
                        limits=(0.0, None),
                        numbers=".3f",
                        colors="Blues",
                        cell=0.42,
                    ),
                    "Fraction of images with different decisions.",
                    width=640,
                )
            ],
            wide=True,
        ),
        page.Table(["", *everybody], [[n, *row] for n, row in zip(everybody, matrix, strict=True)]),
        page.Text("Accuracy of each head on the test images of each class.", title="By class"),
        page.Table(
            ["class", "images", *names],
            [
                [label, int(np.sum(said.labels == k)), *(float(v) for v in by_class[:, k])]
                for k, label in enumerate(labels)
            ],
            folded=f"all {len(labels)} classes",
        ),
    ]
    if cards:
        blocks += [
            page.Text(
                "Ordered by the Jensen-Shannon divergence between the predictions of "
                f"{', '.join(voters)}. Right answers are green.",
                title="The images on which the heads differ most",
            ),
            page.Cards(cards),
        ]
    return Result(
        section=page.Section(
            name="disagreement",
            title="Disagreement",
            subject=chosen.described(said.size),
            blocks=blocks,
        ),
        figures={
            "model_dir": str(chosen.run.path),
            "examples": said.size,
            "names": everybody,
            "matrix": matrix,
            "class_accuracy": {
                label: dict(zip(names, by_class[:, k], strict=True))
                for k, label in enumerate(labels)
            },
            "contested": contested,
        },
        extra=sheet,
    )


def _images(chosen: Study, rows: np.ndarray) -> np.ndarray:
    """The images (len(rows), H, W, C) of the test examples with these numbers."""
    found: dict[int, np.ndarray] = {}
    wanted, seen = set(rows.tolist()), 0
    for batch in chosen.batches("test"):
        kept = np.asarray(batch["images"])[np.asarray(batch["weights"]) > 0]
        found |= {i: kept[i - seen] for i in wanted if seen <= i < seen + len(kept)}
        seen += len(kept)
        if len(found) == len(wanted):
            break
    return np.stack([found[int(row)] for row in rows])


def _contested(
    said: predictions.Predictions,
    index: int,
    image: np.ndarray,
    labels: tuple[str, ...],
    spread: float,
) -> tuple[page.Card, dict[str, Any]]:
    truth = int(said.labels[index])
    lines: list[tuple[str, str, bool]] = []
    votes: dict[str, dict[str, Any]] = {}
    for name, logits in said.logits.items():
        p = agreement.softmax(logits[index])
        best = int(p.argmax())
        lines.append((name, f"{labels[best]} {100 * p[best]:.0f} %", best == truth))
        votes[name] = {"class": labels[best], "probability": float(p[best])}
    card = page.Card(figures.raw_png(image), f"{labels[truth]} (no. {index})", lines)
    answers = dict.fromkeys(vote["class"] for vote in votes.values())
    caption = f"{labels[truth]}\n→ " + ", ".join(list(answers)[:2])
    entry = {"example": index, "label": labels[truth], "divergence": spread, "votes": votes}
    return card, {**entry, "caption": caption}
