from __future__ import annotations

from dataclasses import dataclass

import pytest

from std_keras.exporting.recommend import recommended


@dataclass(frozen=True)
class File:
    top1: float
    latency_ms: float
    bytes: int


@pytest.mark.parametrize(
    ("files", "best"),
    [
        # As on a processor that multiplies int8 slowly, and on one that does so fast.
        ([File(0.9, 2.9, 400), File(0.9, 6.3, 100)], 0),
        ([File(0.9, 6.3, 400), File(0.9, 2.9, 100)], 1),
        # float16 is as fast as float32 up to noise, and half of its size.
        ([File(0.9, 2.9, 400), File(0.9, 3.1, 200)], 1),
        # A thousandth of the bytes, as between two ways to 8 bits, is no reason to be slower.
        ([File(0.9, 0.33, 1348), File(0.9, 0.36, 1340)], 0),
        ([File(0.9, 0.36, 1340), File(0.9, 0.33, 1420)], 0),
        # Half a point is given up for speed, more is not.
        ([File(0.9, 5.0, 400), File(0.896, 1.0, 100)], 1),
        ([File(0.9, 5.0, 400), File(0.89, 1.0, 100)], 0),
        ([File(0.9, 1.0, 400)], 0),
    ],
)
def test_the_smallest_of_the_fastest_of_the_most_accurate(files, best):
    assert recommended(files, examples=1000) is files[best]


def test_one_image_of_few_counts_as_equal():
    files = [File(0.90, 5.0, 400), File(0.88, 1.0, 100)]
    assert recommended(files, examples=50) is files[1]
    assert recommended(files, examples=100) is files[0]


def test_of_nothing_nothing():
    assert recommended([], examples=10) is None
