"""What fits, what is beaten and what the verdict says, on files that are made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from std_keras.research.analysis import shipping
from std_keras.research.analysis.shipping import ALONE, STUDENT, TEACHER, Candidate

BIG = ("teacher", TEACHER, "int8", 4.0, 0.95, 6.0)
SMALL = ("student", STUDENT, "int8", 0.9, 0.91, 2.0)
PLAIN = ("plain", ALONE, "int8", 0.9, 0.86, 2.0)


def file(run, role, quantization, megabytes, top1, ms, balanced=None):
    return Candidate(
        run=run,
        role=role,
        quantization=quantization,
        file=Path("exports", run, f"student_{quantization}.tflite"),
        bytes=round(megabytes * 1e6),
        top1=top1,
        balanced_accuracy=top1 if balanced is None else balanced,
        latency_ms=ms,
        latency_ms_2_threads=ms / 2,
        cold_start_ms=None,
    )


def compare(*files, budget_mb=None, budget_ms=None, metric="top1", examples=1000):
    return shipping.compare(
        [file(*values) for values in files],
        dataset="folder:photos",
        examples=examples,
        budget_mb=budget_mb,
        budget_ms=budget_ms,
        metric=metric,
        machine={"cpu": "some CPU"},
    )


@pytest.mark.parametrize(
    ("budget_mb", "budget_ms", "fitting"),
    [
        (None, None, ["teacher", "student", "plain"]),
        (4.0, 6.0, ["teacher", "student", "plain"]),
        (3.99, None, ["student", "plain"]),
        (None, 5.99, ["student", "plain"]),
        (5.0, 1.99, []),
    ],
)
def test_what_fits(budget_mb, budget_ms, fitting):
    found = compare(BIG, SMALL, PLAIN, budget_mb=budget_mb, budget_ms=budget_ms)
    assert [f.run for f in found.files if f.fits] == fitting


def test_which_part_of_the_budget_is_exceeded():
    found = compare(BIG, SMALL, budget_mb=1, budget_ms=1)
    assert [f.over for f in found.files] == [("MB", "ms"), ("ms",)]
    assert "over: MB, ms" in found.table() and "fits" not in found.table().splitlines()[1]


def test_a_file_is_beaten_by_one_that_is_nowhere_worse():
    found = compare(BIG, SMALL, PLAIN, ("same", STUDENT, "int8", 0.9, 0.91, 2.0))
    assert [f.dominated_by for f in found.files] == [None, None, "student int8", None]


def test_the_file_that_is_named_as_better_is_beaten_by_none():
    best, middle, last = (
        (name, ALONE, "float32", size, 0.9, 1.0) for name, size in (("a", 1), ("b", 2), ("c", 3))
    )
    found = compare(last, middle, best)
    assert [f.dominated_by for f in found.files] == ["a float32", "a float32", None]


def test_a_student_where_the_teacher_does_not_fit():
    found = compare(BIG, SMALL, PLAIN, budget_mb=1, budget_ms=2.5)
    assert found.ship.run == "student"
    assert found.verdict() == (
        "Ship student int8 (91.0 %, 0.90 MB, 2.00 ms): the best that fits the budget of 1 MB and "
        "2.5 ms. The teacher does not fit: teacher int8 (95.0 %, 4.00 MB, 6.00 ms)."
    )


def test_the_teacher_where_it_fits():
    found = compare(BIG, SMALL, budget_ms=6)
    assert found.ship.run == "teacher"
    assert "The teacher itself is the better file to ship: the best student that fits, " in (
        found.verdict()
    )
    assert found.verdict().endswith("has 4.0 points less.")
    alone = compare(BIG, SMALL, budget_ms=6, budget_mb=5)
    assert alone.ship.run == "teacher"


def test_the_teacher_where_it_is_better_in_everything_needs_no_budget():
    found = compare(("teacher", TEACHER, "int8", 0.5, 0.95, 1.0), SMALL)
    assert found.ship.run == "teacher"
    assert "The teacher itself is the better file to ship" in found.verdict()


def test_without_a_budget_more_accuracy_for_more_time_is_left_open():
    found = compare(BIG, SMALL, PLAIN)
    assert found.ship is None and "<- ship" not in found.table()
    assert found.verdict().startswith("It depends on the budget, and none is given: the teacher")
    assert "4.0 points more" in found.verdict()
    assert "4.4 times the size and 3.0 times the time" in found.verdict()


def test_a_student_that_is_as_good_wins_without_a_budget():
    found = compare(BIG, ("student", STUDENT, "int8", 0.9, 0.948, 2.0))
    assert found.ship.run == "student"
    assert found.verdict().startswith("Ship student int8 (94.8 %") and "The teacher: " in (
        found.verdict()
    )


def test_a_student_without_teacher_that_is_the_best():
    found = compare(SMALL, ("plain", ALONE, "int8", 0.9, 0.93, 2.0), budget_mb=1)
    assert found.ship.run == "plain"
    assert "It learned without a teacher; the best student that fits is student int8" in (
        found.verdict()
    )


def test_nothing_fits():
    found = compare(BIG, SMALL, budget_mb=0.5, budget_ms=1.5)
    assert found.ship is None
    assert found.verdict() == (
        "No file fits the budget of 0.5 MB and 1.5 ms; the nearest is student int8 (91.0 %, "
        "0.90 MB, 2.00 ms)."
    )


def test_balanced_accuracy_may_decide():
    fair = ("fair", ALONE, "int8", 0.9, 0.80, 2.0, 0.75)
    unfair = ("unfair", ALONE, "int8", 0.9, 0.85, 2.0, 0.40)
    assert compare(fair, unfair).ship.run == "unfair"
    found = compare(fair, unfair, metric="balanced_accuracy")
    assert found.ship.run == "fair"
    assert "fair int8 (75.0 % balanced" in found.verdict()
    assert [f.dominated_by for f in found.files] == [None, "fair int8"]


def test_chance_is_two_standard_errors_of_a_difference():
    """Of two fractions of 0.5 on 200 images: 2 √(2 · 0.25 / 200) = 0.1."""
    assert compare(("a", ALONE, "int8", 1, 0.5, 1), examples=200).chance == pytest.approx(0.1)


def test_the_same_as_json():
    found = compare(BIG, SMALL, budget_mb=1)
    plain = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert plain["ship"] == "exports/student/student_int8.tflite"
    assert [row["fits"] for row in plain["files"]] == [False, True]
    assert plain["verdict"] == found.verdict()
    assert plain["files"][0]["role"] == "teacher"
