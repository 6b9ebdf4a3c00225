from __future__ import annotations

import numpy as np
import pytest

from std_keras.data.arrays import ArraySource
from std_keras.errors import InputError
from tests.data.numbered import numbered_source, numbers


def test_split_parts_the_set_by_its_seed_alone():
    source = numbered_source(300)
    rest, held_out = source.split(fraction=0.1, seed=4)
    assert (rest.size, held_out.size) == (270, 30)
    chosen = numbers(held_out.take()[0])
    assert sorted(numbers(rest.take()[0]) + chosen) == list(range(300))
    assert numbers(source.split(fraction=0.1, seed=4)[1].take()[0]) == chosen
    assert numbers(source.split(fraction=0.1, seed=5)[1].take()[0]) != chosen
    assert np.corrcoef(chosen, range(30))[0, 1] > 0.9  # in order, and spread over the whole set
    assert max(chosen) - min(chosen) > 200


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_a_split_with_an_empty_part_is_refused(fraction):
    with pytest.raises(InputError, match=f"validation_fraction={fraction}"):
        numbered_source(100).split(fraction=fraction, seed=0)


@pytest.mark.parametrize("n, expected", [(0, 0), (7, 7), (600, 600), (None, 600), (9999, 600)])
def test_take_gives_the_first_images_and_their_labels(n, expected):
    images, labels = numbered_source(600).take(n)
    assert images.dtype == np.uint8 and labels.dtype == np.int32
    assert numbers(images) == list(range(expected))
    assert labels.tolist() == [i % 5 for i in range(expected)]


def test_take_reports_its_progress():
    seen = []

    def progress(iterable, *, total, what):
        for item in iterable:
            seen.append((total, what))
            yield item

    numbered_source(600).take(progress=progress, what="looking")
    assert seen == [(3, "looking")] * 3


@pytest.mark.parametrize(
    "images, labels",
    [
        (np.zeros((2, 4, 4, 3), np.float32), [0, 1]),
        (np.zeros((2, 4, 4), np.uint8), [0, 1]),
        (np.zeros((2, 4, 4, 3), np.uint8), [0]),
    ],
)
def test_arrays_of_another_kind_are_refused(images, labels):
    with pytest.raises(ValueError, match="uint8"):
        ArraySource(images, np.array(labels))
