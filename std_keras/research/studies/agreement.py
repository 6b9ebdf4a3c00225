"""Does the student decide as its teacher does, how sure is it, and is it as often right as sure?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from std_keras.research.analysis import agreement, calibration, predictions
from std_keras.research.studies import figures, page
from std_keras.research.studies.output import Result
from std_keras.research.studies.study import Study

_PARTS = {"test": "test", "train": "train", "augmented": "train, augmented"}


def run(chosen: Study, parsed: Mapping[str, Any]) -> Result:
    """Agreement with the first of `--against`, for every head of every model, on three parts."""
    bins = parsed["bins"]
    teacher = chosen.others[0]
    reference = teacher.label(teacher.main_head)
    parts: dict[str, Any] = {}
    diagrams: dict[str, calibration.Reliability] = {}
    for part in _PARTS:
        batches = chosen.augmented_batches() if part == "augmented" else chosen.batches(part)
        said = predictions.collect(chosen.classifiers, batches, stop=chosen.stop)
        parts[part] = _part(said, reference, labelled=part != "augmented")
        if part == "test":
            diagrams = {
                name: calibration.reliability(agreement.softmax(logits), said.labels, bins=bins)
                for name, logits in said.logits.items()
            }
    names = [name for name in diagrams if name != reference]
    return Result(
        section=page.Section(
            name="agreement",
            title="Agreement with the teacher",
            subject=chosen.described(parts["test"]["examples"])
            + f" and {parts['train']['examples']} training images",
            blocks=_blocks(parts, diagrams, names, reference),
        ),
        figures={
            "model_dir": str(chosen.run.path),
            "reference": reference,
            "parts": parts,
            "calibration": {name: _calibration(d) for name, d in diagrams.items()},
        },
    )


def _part(said: predictions.Predictions, reference: str, *, labelled: bool) -> dict[str, Any]:
    teacher = said.logits[reference]
    heads = {}
    for name, logits in said.logits.items():
        same = agreement.top1_agreement(teacher, logits)
        heads[name] = {
            "agreement": same,
            "agreement_standard_error": agreement.standard_error(same, said.size),
            "kl": agreement.predictive_kl(teacher, logits),
        }
        if labelled:  # A mixed image has no single label.
            heads[name]["top1"] = agreement.accuracy(logits, said.labels)
    return {"examples": said.size, "heads": heads}


def _calibration(diagram: calibration.Reliability) -> dict[str, Any]:
    return {
        "ece": diagram.expected_error,
        "mce": diagram.largest_error,
        "overconfidence": diagram.overconfidence,
        "bins": {
            "count": diagram.count,
            "confidence": diagram.confidence,
            "accuracy": diagram.accuracy,
        },
    }


def _blocks(
    parts: Mapping[str, Any],
    diagrams: Mapping[str, calibration.Reliability],
    names: list[str],
    reference: str,
) -> list[page.Block]:
    bars = figures.bars(
        {
            name: {
                words: (
                    parts[part]["heads"][name]["agreement"],
                    parts[part]["heads"][name]["agreement_standard_error"],
                )
                for part, words in _PARTS.items()
            }
            for name in names
        },
        title=f"Same top class as {reference}",
        axis="fraction of images",
    )
    points = {
        words: [
            (name, parts[part]["heads"][name]["agreement"], parts[part]["heads"][name]["top1"])
            for name in names
        ]
        for part, words in _PARTS.items()
        if part != "augmented"
    }
    cloud = figures.scatter(points, title="Accuracy against fidelity", x="agreement", y="top-1")
    rows = [
        [
            name,
            words,
            page.percent(found.get("top1")),
            page.percent(found["agreement"]),
            "±" + page.percent(found["agreement_standard_error"]),
            found["kl"],
        ]
        for name in names
        for part, words in _PARTS.items()
        for found in [parts[part]["heads"][name]]
    ]
    own = ", ".join(
        f"{words}: {page.percent(parts[part]['heads'][reference]['top1'])}"
        for part, words in _PARTS.items()
        if part != "augmented"
    )
    return [
        page.Text(
            "Agreement is the fraction of images with the same top class as the teacher "
            f"({reference}; its own top-1: {own}). KL is the mean of KL(teacher ‖ model) in nats. "
            "A student can be accurate without agreeing, and agree without being accurate; a model "
            "that never saw the teacher shows how much agreement comes from being right alone "
            "(Stanton et al. 2021, arXiv 2106.05945)."
        ),
        page.Pictures(
            [
                page.Picture("agreement", bars, "Agreement by head, with standard errors."),
                page.Picture("fidelity", cloud, "Each head as a point: agreement and accuracy."),
            ]
        ),
        page.Table(["head", "part", "top-1", "agreement", "error", "KL"], rows),
        page.Text(
            "Of predictions with 70 % confidence 70 % should be right. ECE is the mean distance "
            "from that, MCE the largest of a bin; overconfidence is mean confidence minus accuracy "
            "(Guo et al. 2017, arXiv 1706.04599). On the test images.",
            title="Calibration",
        ),
        page.Pictures(
            [
                page.Picture(
                    f"reliability_{index}",
                    figures.reliability(diagram, title=name),
                    f"{name}: accuracy of the predictions by their confidence.",
                    width=380,
                )
                for index, (name, diagram) in enumerate(diagrams.items())
            ]
        ),
        page.Table(
            ["head", "ECE", "MCE", "overconfidence"],
            [
                [name, d.expected_error, d.largest_error, d.overconfidence]
                for name, d in diagrams.items()
            ],
        ),
    ]
