"""The epoch schedule of the information term, against automatic and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from std_keras.config.mine import MineOptions
from std_keras.losses import mine
from std_keras.training.mine_epoch import create_epoch_step
from tests.training.tiny import batch, feed, make_state, randomize, student, values

ONE = tf.distribute.get_strategy()
WEIGHT, CRITIC_RATE, STUDENT_RATE = 0.25, 1e-3, 2e-3


@pytest.fixture
def state():
    return make_state(randomize(student(["both"])), critics=True)


def bounds(state, some):
    """The Donsker-Varadhan bound of every token set, with the pairs of neighbours swapped."""
    outputs = state.outputs(tf.constant(some["images"], tf.float32), training=True)
    found = []
    for name, critic in zip(state.token_sets, state.critics, strict=True):
        pair = outputs[name]
        marginal = tf.gather(pair["channel"], np.arange(len(some["targets"])) ^ 1)
        found.append(
            mine.donsker_varadhan(
                critic(pair["spatial"], pair["channel"]), critic(pair["spatial"], marginal)
            )
        )
    return found


def epoch_step(state, some, *, bias_correction, **rates):
    options = MineOptions(
        samples=len(some["targets"]),
        student_learning_rate=STUDENT_RATE,
        bias_correction=bias_correction,
        **{"weight": WEIGHT, "learning_rate": CRITIC_RATE, **rates},
    )
    step = create_epoch_step(state, strategy=ONE, options=options)
    return lambda: step(next(feed(ONE, [some])))


def test_critics_ascend_and_the_student_descends_on_the_mean_bound(eagerly, state):
    some = batch(16)
    variables, critics = state.model.trainable_variables, state.critic_variables
    with tf.GradientTape() as tape:
        found = bounds(state, some)
        mean = tf.add_n(found) / len(found)
    gradients = tape.gradient(
        mean, [v.value for v in [*variables, *critics]], unconnected_gradients="zero"
    )
    before = values([*variables, *critics])
    figures = epoch_step(state, some, bias_correction=False)()
    assert tuple(figures) == ("mine/tokens_0_intermediate", "mine/tokens_0_last")
    np.testing.assert_allclose(list(figures.values()), [float(v) for v in found], rtol=1e-5)
    rates = [-WEIGHT * STUDENT_RATE] * len(variables) + [CRITIC_RATE] * len(critics)
    for variable, old, gradient, rate in zip(
        [*variables, *critics], before, gradients, rates, strict=True
    ):
        expected = old + rate * gradient.numpy()
        np.testing.assert_allclose(
            variable.numpy(), expected, rtol=1e-5, atol=1e-6, err_msg=variable.path
        )
    still = {
        v.path
        for v, old in zip(variables, before[: len(variables)], strict=True)
        if np.array_equal(v.numpy(), old)
    }
    assert not any("tokens" in path or "block" in path or "stem" in path for path in still)


@pytest.mark.parametrize("who", ["critics", "student"])
def test_the_bound_moves_as_far_as_the_gradient_says(eagerly, state, who):
    """A finite difference: rate x |gradient|^2, the critics upwards and the student downwards."""
    some = batch(16)
    with tf.GradientTape() as tape:
        start = tf.add_n(bounds(state, some)) / 2.0
    moving = state.critic_variables if who == "critics" else state.model.trainable_variables
    gradients = tape.gradient(start, [v.value for v in moving], unconnected_gradients="zero")
    square = sum(float(tf.reduce_sum(g**2)) for g in gradients)
    # A step so small that the bound is nearly straight over it.
    change = 1e-3 * abs(float(start))
    rate = change / square
    rates = {"learning_rate": rate, "weight": 1e-12}
    if who == "student":
        rates = {"learning_rate": 1e-30, "weight": rate / STUDENT_RATE}
    epoch_step(state, some, bias_correction=False, **rates)()
    moved = float(tf.add_n(bounds(state, some)) / 2.0 - start)
    assert moved == pytest.approx(change if who == "critics" else -change, rel=0.1)


def test_the_moving_average_is_kept_between_epochs(state):
    first = epoch_step(state, batch(16), bias_correction=True, learning_rate=1e-9)
    assert np.isneginf(state.log_averages.numpy()).all()
    first()
    once = values([state.log_averages])[0]
    assert np.isfinite(once).all()
    first()
    np.testing.assert_allclose(state.log_averages.numpy(), once, rtol=0.05, atol=0.05)
