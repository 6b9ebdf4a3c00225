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


def test_sums_go_on_in_another_process(tmp_path):
    first, second, whole = StepMeans(), StepMeans(), StepMeans()
    parts = [
        (result(steps=2, totals={"loss/total": 0.1 + 0.2}, waited=0.25), 1.5),
        (result(steps=1, totals={"loss/total": 0.7}, waited=0.25), 0.75),
    ]
    first.add(*parts[0])
    first.keep(tmp_path / "sums.json", step=2)
    second.go_on(tmp_path / "sums.json", step=2)
    second.add(*parts[1])
    for part in parts:
        whole.add(*part)
    assert second.means(batch_size=8) == whole.means(batch_size=8)
    second.keep(tmp_path / "sums.json", step=3)
    assert not (tmp_path / "sums.json").exists(), "nothing is left over once it was logged"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"step": 2, "totals": 7}',
        '{"step": 3}',
        '{"step": 2, "totals": {}, "steps": Infinity}',
    ],
)
def test_sums_of_another_step_and_damaged_ones_are_left_alone(tmp_path, text):
    (tmp_path / "sums.json").write_text(text)
    for file in ("sums.json", "none.json"):
        means = StepMeans()
        means.go_on(tmp_path / file, step=2)
        means.add(result(steps=1, totals={"loss/total": 5.0}, waited=0.0), 1.0)
        assert means.means(batch_size=1)["loss/total"] == 5.0


def test_names_of_an_evaluation():
    figures = {"ema": {"average": Accuracy(top1=0.5, top5=0.75, loss=1.5)}}
    assert by_path(figures) == {
        "ema/average/top1": 0.5,
        "ema/average/top5": 0.75,
        "ema/average/loss": 1.5,
    }
