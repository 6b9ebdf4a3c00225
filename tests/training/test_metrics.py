"""Means over steps, and the names of an evaluation's figures."""

from __future__ import annotations

import pytest

from std_keras.runs.evaluation import Accuracy
from std_keras.training.metrics import StepMeans, by_path
from std_keras.training.step import CallResult


def result(*, steps, totals, waited):
    return CallResult(steps=steps, totals=totals, last={}, finite=True, wait_seconds=waited)


def test_means_are_per_step_whatever_the_calls_were():
    means = StepMeans()
    means.add(result(steps=1, totals={"loss/total": 4.0}, waited=0.5), 1.0)
    means.add(result(steps=3, totals={"loss/total": 6.0}, waited=0.5), 3.0)
    values = means.means(batch_size=8)
    assert values["loss/total"] == pytest.approx((4.0 + 6.0) / 4)
    assert values["images_per_second"] == pytest.approx(4 * 8 / 4.0)
    assert values["data_wait"] == pytest.approx(1.0 / 4.0)


def test_means_start_again_after_they_were_asked_for():
    means = StepMeans()
    means.add(result(steps=1, totals={"loss/total": 100.0}, waited=0.0), 1.0)
    means.means(batch_size=1)
    means.add(result(steps=2, totals={"loss/total": 2.0}, waited=0.0), 1.0)
    assert means.means(batch_size=1)["loss/total"] == pytest.approx(1.0)


def test_names_of_an_evaluation():
    figures = {"ema": {"average": Accuracy(top1=0.5, top5=0.75, loss=1.5)}}
    assert by_path(figures) == {
        "ema/average/top1": 0.5,
        "ema/average/top5": 0.75,
        "ema/average/loss": 1.5,
    }
