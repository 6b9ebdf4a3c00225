"""Is a classifier as often right as it is sure: the reliability diagram and its one-number summary.

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599, Eq. 1 to 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Reliability:
    """Images in bins of equal width by the probability of their top class.

    Attributes:
        edges: (bins + 1,) from 0 to 1.
        count: (bins,) images; a bin holds confidences in (lower edge, upper edge].
        confidence: (bins,) mean confidence; NaN where there are no images.
        accuracy: (bins,) fraction that is right; NaN where there are no images.
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def expected_error(self) -> float:
        """ECE: Σ over bins of count/n · |accuracy − confidence|, from 0 to 1."""
        gaps = np.where(self.count > 0, np.abs(self.accuracy - self.confidence), 0.0)
        return float(np.sum(gaps * self.count) / self.count.sum())

    @property
    def largest_error(self) -> float:
        """MCE: the largest |accuracy − confidence| of a bin that is not empty."""
        return float(np.nanmax(np.abs(self.accuracy - self.confidence)))

    @property
    def overconfidence(self) -> float:
        """Mean confidence minus accuracy over all images; above 0: surer than right."""
        filled = self.count > 0
        gaps = (self.confidence - self.accuracy)[filled] * self.count[filled]
        return float(gaps.sum() / self.count.sum())


def reliability(probabilities: np.ndarray, labels: np.ndarray, *, bins: int = 15) -> Reliability:
    """Sorts predictions into bins by their confidence.

    Args:
        probabilities: (n, K), rows with sum 1.
        labels: (n,).
        bins: how many; 15 in the paper.

    Raises:
        ValueError: no bins, no images, or shapes that do not fit.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise ValueError(
            f"probabilities (n, K) and labels (n,) are needed, got {probabilities.shape} and "
            f"{labels.shape}"
        )
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    edges = np.linspace(0.0, 1.0, bins + 1)
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            edges=edges,
            count=count,
            confidence=np.bincount(index, weights=confidence, minlength=bins) / count,
            accuracy=np.bincount(index, weights=right, minlength=bins) / count,
        )
