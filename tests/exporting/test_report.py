from __future__ import annotations

import numpy as np
import pytest

from std_keras.exporting import convert, inference_model, report

LABELS = np.array([0, 1, 0, 1])
KERAS = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.float32)  # All right.
FILE = np.array([[1, 0], [0, 1.25], [1, 0], [0.5, 0]], np.float32)  # One wrong.


@pytest.fixture(scope="module")
def content(student) -> bytes:
    return convert(inference_model(student, head="classification"), quantization="float32")


def judge(content, logits, **options):
    return report.judge(
        "student_q.tflite",
        content,
        logits=logits,
        latency_ms=1.5,
        input_type="uint8",
        reference=KERAS,
        labels=LABELS,
        **options,
    )


def test_figures(content):
    row = judge(content, FILE)
    assert (row.top1, row.accuracy_drop, row.max_logit_difference) == (0.75, 0.25, 1.0)
    assert (row.bytes, row.num_ops) == (len(content), sum(row.ops.values()))
    assert (row.file, row.refused) == ("student_q.tflite", None)
    assert row.balanced_accuracy == 0.75
    unbalanced = report.balanced_accuracy(FILE[[0, 2, 3]], LABELS[[0, 2, 3]])
    assert unbalanced == (2 / 2 + 0 / 1) / 2  # Class 0 has two images, class 1 one.


@pytest.mark.parametrize(("limit", "refused"), [(0.25, False), (0.24, True), (0.0, True)])
def test_the_limit_of_the_drop(content, limit, refused):
    row = judge(content, FILE, max_accuracy_drop=limit)
    assert (row.refused is not None) == refused
    assert row.file == ("student_q.rejected.tflite" if refused else "student_q.tflite")


def test_a_better_file_passes_a_limit_of_zero(content):
    better = report.judge(
        "a.tflite",
        content,
        logits=KERAS,
        latency_ms=1.0,
        input_type="uint8",
        reference=FILE,
        labels=LABELS,
        max_accuracy_drop=0.0,
    )
    assert better.refused is None
    assert better.accuracy_drop == -0.25


def test_what_is_not_finite_is_refused_without_a_limit(content):
    row = judge(content, np.full_like(FILE, np.inf))
    assert row.refused == "it returns non-finite values"
    assert row.max_logit_difference is None
    assert row.top1 == 0.0


def test_the_table_has_a_line_per_file(content):
    rows = {"a": judge(content, FILE), "b": judge(content, np.full_like(FILE, np.nan))}
    text = report.table(rows, keras_top1=1.0, examples=4, cpu="some CPU")
    lines = text.splitlines()
    assert len(lines) == 1 + 1 + 2 + 1 + 1
    assert lines[2].split() == [
        "student_q.tflite",
        f"{len(content):,}",
        str(rows["a"].num_ops),
        "0.7500",
        "+0.2500",
        "1.00e+00",
        "1.500",
    ]
    assert "not finite" in lines[3]
    assert "some CPU" in lines[4]
    assert lines[5].startswith("recommended: student_q.tflite, by the measurements above")


def test_a_refused_file_is_not_recommended(content):
    rows = {"a": judge(content, np.full_like(FILE, np.nan))}
    assert report.recommended_quantization(rows, examples=4) is None
    assert "recommended" not in report.table(rows, keras_top1=1.0, examples=4, cpu="some CPU")
