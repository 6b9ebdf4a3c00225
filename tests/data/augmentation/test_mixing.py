"""mixup and CutMix against their definitions, SciPy's Beta distribution and timm's boxes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from std_keras.data.augmentation.mixing import Mixing, mix_images, mix_targets, partners

STEPS = 1500


def draws(mixing, *, steps=STEPS, shape=(32, 32, 3)):
    """What is drawn for the first image of many steps, by name; the whole batch draws the same."""

    @tf.function
    def draw(step):
        return mixing.draw(batch_size=4, seed=5, step=step, image_shape=shape)

    several = [draw(tf.constant(step)) for step in range(steps)]
    for values in several[:20]:
        for value in values.values():
            assert (value.numpy() == value.numpy()[:1]).all()
    return {name: np.stack([v[name].numpy()[0] for v in several]) for name in several[0]}


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 3.0])
def test_mixup_ratios_are_beta_distributed(alpha):
    drawn = draws(Mixing(mixup_alpha=alpha))
    assert scipy.stats.kstest(drawn["mix_pixels"], "beta", (alpha, alpha)).pvalue > 0.001
    np.testing.assert_array_equal(drawn["mix_pixels"], drawn["mix_targets"])
    assert (drawn["mix_box"] == 0).all()


def test_cutmix_ratios_and_boxes_are_those_of_the_definition():
    """The side of a box is sqrt(1 - lambda); its middle is uniform; the border cuts it off."""
    drawn = draws(Mixing(cutmix_alpha=1.0))
    top, left, bottom, right = drawn["mix_box"].T
    assert (drawn["mix_pixels"] == 1).all()
    inside = (bottom - top) * (right - left) / 32**2
    np.testing.assert_allclose(drawn["mix_targets"], 1 - inside, atol=1e-6)
    # The same from NumPy, with lambda uniform (Beta(1, 1)), as in the paper.
    rng = np.random.default_rng(0)
    side = (32 * np.sqrt(1 - rng.uniform(size=100_000))).astype(int)
    y, x = rng.integers(32, size=(2, 100_000))
    low = np.clip(np.stack([y, x]) - side // 2, 0, 32)
    high = np.clip(np.stack([y, x]) + (side + 1) // 2, 0, 32)
    expected = np.prod(high - low, axis=0) / 32**2
    assert inside.mean() == pytest.approx(expected.mean(), abs=0.03)
    for quantile in (0.25, 0.5, 0.75):
        assert np.quantile(inside, quantile) == pytest.approx(
            np.quantile(expected, quantile), abs=0.05
        )


@pytest.mark.parametrize("probability, switch", [(1.0, 0.5), (0.5, 0.5), (1.0, 0.2)])
def test_how_often_a_batch_is_mixed_and_how(probability, switch):
    drawn = draws(Mixing(0.8, 1.0, probability=probability, switch_probability=switch))
    cut = drawn["mix_box"][:, 2] > 0
    averaged = drawn["mix_pixels"] < 1
    assert not (cut & averaged).any()
    error = 4 * np.sqrt(0.25 / STEPS)
    # A tiny box may be empty, and a ratio may round to one.
    assert averaged.mean() == pytest.approx(probability * (1 - switch), abs=error)
    assert cut.mean() == pytest.approx(probability * switch, abs=error + 0.02)


@pytest.mark.parametrize("kind", [{"mixup_alpha": 0.8}, {"cutmix_alpha": 1.0}])
def test_pixels_and_targets_against_numpy(kind):
    rng = np.random.default_rng(1)
    images, others = rng.integers(0, 256, (2, 4, 9, 7, 3)).astype(np.uint8)
    targets, other_targets = rng.dirichlet(np.ones(5), (2, 4)).astype(np.float32)
    for step in range(20):
        drawn = Mixing(**kind).draw(batch_size=4, seed=0, step=step, image_shape=(9, 7, 3))
        mixed = mix_images(tf.constant(images), tf.constant(others), drawn).numpy()
        weight = drawn["mix_pixels"].numpy()[0]
        top, left, bottom, right = drawn["mix_box"].numpy()[0]
        expected = np.rint(images * weight + others * (np.float32(1) - weight)).astype(np.uint8)
        expected[:, top:bottom, left:right] = others[:, top:bottom, left:right]
        np.testing.assert_array_equal(mixed, expected)
        mass = mix_targets(tf.constant(targets), tf.constant(other_targets), drawn).numpy()
        share = drawn["mix_targets"].numpy()[:, None]
        np.testing.assert_allclose(mass, share * targets + (1 - share) * other_targets, atol=1e-6)
        np.testing.assert_allclose(mass.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("batch_size", [2, 3, 4, 5, 7, 8, 128])
def test_everyone_has_another_partner_once(batch_size):
    pairs = partners(batch_size)
    assert sorted(pairs) == list(range(batch_size))
    assert (pairs != np.arange(batch_size)).all()
