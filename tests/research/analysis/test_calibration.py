"""ECE in closed form, the edges of the bins, a classifier that is calibrated by construction."""

from __future__ import annotations

import numpy as np
import pytest

from std_keras.research.analysis.calibration import reliability


def predictions(confidences, right):
    """Two-class probabilities whose top class is 0; labels are 0 where it is right."""
    p = np.asarray(confidences, float)
    return np.stack([p, 1.0 - p], axis=1), np.where(right, 0, 1)


def test_closed_form():
    # Four at 0.95, three right; six at 0.65, three right.
    p, labels = predictions([0.95] * 4 + [0.65] * 6, [1, 1, 1, 0, 1, 1, 1, 0, 0, 0])
    found = reliability(p, labels, bins=10)
    assert found.count.tolist() == [0, 0, 0, 0, 0, 0, 6, 0, 0, 4]
    assert found.accuracy[[6, 9]] == pytest.approx([0.5, 0.75])
    assert found.confidence[[6, 9]] == pytest.approx([0.65, 0.95])
    assert found.expected_error == pytest.approx(0.4 * 0.20 + 0.6 * 0.15)
    assert found.largest_error == pytest.approx(0.20)
    assert found.overconfidence == pytest.approx((4 * 0.95 + 6 * 0.65) / 10 - 0.6)
    assert np.isnan(found.accuracy[0])


def test_one_bin_is_the_distance_of_the_means():
    p, labels = predictions([0.9, 0.6, 0.7], [1, 0, 0])
    assert reliability(p, labels, bins=1).expected_error == pytest.approx(2.2 / 3 - 1 / 3)


def test_bins_hold_their_upper_edge():
    p, labels = predictions([0.5, 0.75, 1.0, 0.7500001], [1, 1, 1, 1])
    assert reliability(p, labels, bins=4).count.tolist() == [0, 1, 1, 2]


def test_calibrated_by_construction():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1.0, 40_000)
    p, labels = predictions(confidence, rng.uniform(size=40_000) < confidence)
    assert reliability(p, labels).expected_error < 0.01
    always, labels = predictions(np.full(40_000, 0.999), rng.uniform(size=40_000) < 0.7)
    assert reliability(always, labels).expected_error == pytest.approx(0.299, abs=0.01)


@pytest.mark.parametrize(
    ("p", "labels", "bins"),
    [
        (np.ones((2, 2)), np.zeros(2), 0),
        (np.ones((0, 2)), np.zeros(0), 5),
        (np.ones(2), np.ones(2), 5),
    ],
)
def test_refused(p, labels, bins):
    with pytest.raises(ValueError, match=r"bins|are needed"):
        reliability(p, labels.astype(int), bins=bins)
