"""AutoAugment's draws against its table, and colour jitter against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from std_keras.data.augmentation.auto_augment import CIFAR10_POLICY, draw_cifar10_policy
from std_keras.data.augmentation.color_jitter import draw_color_jitter
from std_keras.data.augmentation.operations import Operation
from tests.oracles import import_timm

SHAPE = (32, 32, 3)
N = 20_000


def test_the_table_is_torchvisions():
    """torchvision has the same policy, written down independently."""
    import_timm()  # Makes torchvision importable.
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    theirs = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
    names = {
        operation: operation.name.replace("_NEAREST", "").replace("_", "").lower()
        for operation in Operation
    }
    without_magnitude = ("autocontrast", "equalize", "invert")
    ours = [
        tuple((names[op], p, None if names[op] in without_magnitude else m) for op, p, m in pair)
        for pair in CIFAR10_POLICY
    ]
    assert ours == [tuple((name.lower(), p, m) for name, p, m in pair) for pair in theirs]


def test_pairs_are_drawn_evenly_and_operations_by_their_probability():
    operations, arguments = (
        x.numpy() for x in draw_cifar10_policy(batch_size=N, seed=0, step=1, image_shape=SHAPE)
    )
    for layer in range(2):
        expected = dict.fromkeys(Operation, 0.0)
        for pair in CIFAR10_POLICY:
            operation, probability, _ = pair[layer]
            expected[operation] += probability / len(CIFAR10_POLICY)
        for operation in set(Operation) - {Operation.IDENTITY}:
            share = (operations[:, layer] == operation).mean()
            error = 5 * np.sqrt(0.25 / N)
            assert share == pytest.approx(expected[operation], abs=error), operation
    shifts = arguments[operations == Operation.TRANSLATE_Y]
    assert (shifts < 0).mean() == pytest.approx(0.5, abs=0.03)
    assert (shifts == np.rint(shifts)).all() and np.abs(shifts).max() <= 150 / 331 * 32 + 1


@pytest.mark.parametrize("strength", [0.3, 1.5])
def test_jitter_factors_are_uniform_and_orders_even(strength):
    operations, factors = (
        x.numpy() for x in draw_color_jitter(strength, batch_size=N, seed=0, step=1)
    )
    least = max(0.0, 1 - strength)
    uniform = scipy.stats.uniform(least, 1 + strength - least)
    assert scipy.stats.kstest(factors.ravel(), uniform.cdf).statistic < 0.01
    orders, counts = np.unique(operations, axis=0, return_counts=True)
    assert len(orders) == 6 and scipy.stats.chisquare(counts).pvalue > 0.001
    wanted = sorted((Operation.BRIGHTNESS, Operation.CONTRAST, Operation.COLOR))
    assert (np.sort(operations, axis=1) == wanted).all()
