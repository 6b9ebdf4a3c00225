"""Means over the runs of a sweep, from rows that are made up."""

from __future__ import annotations

import pytest

from std_keras.research.sweeps import summary


def row(arm, seed, seconds, rate, origin):
    return {
        "arm": arm,
        "seed": str(seed),
        "state": "done",
        "split": "test",
        "top1": "0.5",
        "top5": "0.9",
        "parameters": "1000",
        "train_seconds": str(seconds),
        "images_per_second": str(rate),
        "teacher_predictions": origin,
        "flags": "",
        "error": "",
    }


@pytest.mark.parametrize("filling", ["computed", "mixed"])
def test_a_run_that_fills_the_cache_is_not_averaged_with_those_that_read_it(filling):
    rows = [
        row("soft", 0, 900, 50, filling),
        row("soft", 1, 300, 150, "read"),
        row("soft", 2, 320, 140, "read"),
    ]
    (line,) = summary.summarize(rows)
    assert (line["train_seconds"], line["images_per_second"]) == ("310", "145")
    assert (line["train_seconds_filling"], line["images_per_second_filling"]) == ("900", "50")
    page = summary.markdown(rows, title="x", about="", command="c", source="x.csv")
    assert "| 310 (900 with teachers) | 145 (50 with teachers) | 3 |" in page
    assert "Times with teachers: of the runs that computed" in page


@pytest.mark.parametrize("origin", ["computed", "read", "none", ""])
def test_runs_of_one_kind_have_one_mean(origin):
    rows = [row("a", 0, 100, 10, origin), row("a", 1, 200, 20, origin)]
    (line,) = summary.summarize(rows)
    assert (line["train_seconds"], line["images_per_second"]) == ("150", "15")
    assert "with teachers" not in summary.markdown(
        rows, title="x", about="", command="c", source="x.csv"
    )


def test_a_gain_over_fewer_seeds_is_told():
    said = "not the difference of the means"
    same = [row(arm, seed, 100, 10, "none") for arm in ("a", "b") for seed in (0, 1)]
    options = {"title": "x", "about": "", "command": "c", "source": "x.csv"}
    assert said not in summary.markdown(same, **options)
    assert said in summary.markdown(same[:-1], **options)
