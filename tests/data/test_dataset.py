from __future__ import annotations

import numpy as np
import pytest

from std_keras.data import load
from std_keras.data.dataset import _statistics
from std_keras.errors import InputError


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    data = load("digits")
    assert (data.train.size, data.test.size, data.validation) == (1437, 360, None)
    assert data.label_names == tuple("0123456789") and data.image_shape == (8, 8, 1)
    assert not data.horizontal_flip and data.mean == data.std == (0.5,)
    images, labels = (np.concatenate(p) for p in zip(data.train.take(), data.test.take()))  # noqa: B905
    assert images.dtype == np.uint8 and (images.min(), images.max()) == (0, 255)
    raw = load_digits()
    expected = {
        (x.tobytes(), y)
        for x, y in zip(np.round(raw.images * 255 / 16).astype(np.uint8), raw.target, strict=True)
    }
    assert {(x.tobytes(), y) for x, y in zip(images, labels, strict=True)} == expected
    assert len(images) == 1797


def test_the_digits_split_is_stratified_and_fixed():
    first, second = load("digits"), load("digits", data_seed=9)
    np.testing.assert_array_equal(first.test.take()[0], second.test.take()[0])
    train, test = (np.bincount(s.take()[1]) for s in (first.train, first.test))
    assert np.abs(test - 0.2 * (train + test)).max() < 1


def test_digits_of_another_size():
    data = load("digits", image_size=16)
    assert data.image_shape == (16, 16, 1) and data.test.take(2)[0].shape == (2, 16, 16, 1)
    small, large = load("digits").test.take()[0] / 255, data.test.take()[0] / 255
    assert np.abs(small.mean((1, 2)) - large.mean((1, 2))).max() < 0.03


def test_a_validation_part_is_chosen_by_the_data_seed():
    first, again, other = (
        load("digits", validation_fraction=0.1, data_seed=seed) for seed in (1, 1, 2)
    )
    assert (first.train.size, first.validation.size, first.test.size) == (1293, 144, 360)
    np.testing.assert_array_equal(first.validation.take()[0], again.validation.take()[0])
    assert not np.array_equal(first.validation.take()[0], other.validation.take()[0])


@pytest.mark.parametrize(
    "options, words",
    [
        ({"image_size": 0}, "image_size=0"),
        ({"validation_fraction": 1.0}, "validation_fraction=1: "),
        ({"validation_fraction": -0.1}, "validation_fraction=-0.1: "),
        ({"validation_fraction": 1e-6}, "validation_fraction=1e-06: "),
        ({"test_fraction": 1.0}, "test_fraction=1: "),
        ({"test_fraction": 0.2}, "test_fraction=0.2: dataset=digits has a test part of its own"),
        ({"cache_gb": -1.0}, "cache_gb=-1: "),
        ({"cache_gb": float("nan")}, "cache_gb=nan: "),
        ({"corrupt_images": "maybe"}, "corrupt_images=maybe: must be refuse or skip"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(InputError, match=words):
        load("digits", **options)


@pytest.mark.parametrize(
    "name, channels, mean, std",
    [
        ("cifar100", 3, (0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761)),
        ("cifar10:3.0.2", 3, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        ("imagenette/160px-v2", 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("mnist", 1, (0.5,), (0.5,)),
    ],
)
def test_statistics(name, channels, mean, std):
    assert _statistics(name, channels=channels) == (mean, std)
