"""Muon against NumPy, and in the training step: bfloat16, XLA, accumulation.

Two replicas are in test_replicas.py, a continued run in test_interruption.py.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras.config.optimization import OptimizationOptions
from std_keras.training import optimizers
from std_keras.training.matrices import hidden_matrices
from std_keras.training.muon import Muon
from tests.training.tiny import batch, feed, make_state, randomize, student, trainer, values

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Of the quintic iteration in the authors' code.


def newton_schulz(matrix):
    """Five steps of X -> a X + (b A + c A A) X with A = X X', from X of norm 1."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (np.linalg.norm(x) + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


def in_numpy(start, gradients, *, rates, decay, ratio, matrix, decays):
    value, velocity, mean, square = start.astype(np.float64), 0.0, 0.0, 0.0
    for t, (rate, gradient) in enumerate(zip(rates, gradients, strict=True), start=1):
        own = rate * ratio if matrix else rate
        value = value - own * decay * value if decays else value
        if matrix:
            velocity = 0.95 * velocity + gradient
            flat = (gradient + 0.95 * velocity).reshape(-1, gradient.shape[-1])
            size = 0.2 * np.sqrt(max(flat.shape))
            value = value - own * size * newton_schulz(flat).reshape(value.shape)
        else:
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            root = np.sqrt(square / (1 - 0.999**t)) + 1e-8 / np.sqrt(1 - 0.999**t)
            value = value - own * mean / (1 - 0.9**t) / root
    return value


class Listed(keras.optimizers.schedules.LearningRateSchedule):
    """The rate of every step by itself."""

    def __init__(self, rates):
        self.rates = rates

    def __call__(self, step):
        return tf.gather(tf.constant(self.rates, tf.float32), tf.cast(step, tf.int32))

    def get_config(self):
        return {"rates": self.rates}


RATES = [0.0, 0.05, 0.1, 0.09, 0.02]
SHAPES = {
    "wide": (3, 5),
    "another": (3, 5),
    "upright": (5, 3),
    "square": (4, 4),
    "tall": (7, 2),
    "row": (6, 1),
    "kernel": (3, 3, 2, 4),
    "left": (4, 3),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_numpy(dtype):
    rng = np.random.default_rng(3)
    shapes = {**SHAPES, "bias": (4,)}
    start = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    gradients = [{n: rng.normal(size=s) for n, s in shapes.items()} for _ in RATES]
    variables = {
        name: keras.Variable(value, dtype=dtype, name="bias" if name == "bias" else "kernel")
        for name, value in start.items()
    }
    matrices = [variables[name] for name in SHAPES if name != "left"]
    optimizer = optimizers.create_optimizer(
        OptimizationOptions(optimizer="muon", weight_decay=0.1, muon_learning_rate_ratio=2.0),
        learning_rate=Listed(RATES),
        variables=list(variables.values()),
        matrices=matrices,
    )
    for step in gradients:
        tensors = [tf.constant(value, dtype) for value in step.values()]
        optimizer.apply(tensors, list(variables.values()))
    for name, variable in variables.items():
        expected = in_numpy(
            start[name],
            [step[name] for step in gradients],
            rates=RATES,
            decay=0.1,
            ratio=2.0,
            matrix=name not in ("left", "bias"),
            decays=name != "bias",
        )
        np.testing.assert_allclose(variable.numpy(), expected, rtol=2e-4, atol=2e-5, err_msg=name)


def test_singular_values_of_an_update_are_near_one_and_its_size_is_that_of_adamw():
    rng = np.random.default_rng(0)
    variable = keras.Variable(np.zeros((40, 60)), dtype="float32", name="kernel")
    optimizer = Muon(1.0, matrices=[variable])
    optimizer.build([variable])
    optimizer.apply([tf.constant(rng.normal(size=(40, 60)), tf.float32)], [variable])
    moved = -variable.numpy()
    singular = np.linalg.svd(moved / (0.2 * np.sqrt(60)), compute_uv=False)
    assert singular.min() > 0.6
    assert singular.max() < 1.3
    assert np.sqrt(np.mean(moved**2)) == pytest.approx(0.2, rel=0.2)


@pytest.mark.parametrize(("dtype", "tolerance"), [(None, 1e-6), ("bfloat16", 0.05)])
def test_the_iteration_is_that_of_keras(dtype, tolerance):
    """In bfloat16 to ten roundings of 2^-8, for the sums of 300 products are in float32."""
    matrices = np.random.default_rng(1).normal(size=(2, 200, 300)).astype(np.float32)
    optimizer = Muon(1.0, matrices=[], iteration_dtype=dtype)
    own = tf.cast(optimizer._orthogonalized(tf.constant(matrices)), tf.float32).numpy()
    theirs = keras.ops.convert_to_numpy(optimizer.zeropower_via_newtonschulz5(matrices, 5))
    assert np.linalg.norm(own - theirs) / np.linalg.norm(theirs) < tolerance


def test_a_vector_is_no_matrix():
    variable = keras.Variable(np.zeros(3), name="kernel")
    with pytest.raises(ValueError, match="two dimensions"):
        Muon(1.0, matrices=[variable])


def muon(model, rate=0.02):
    return optimizers.create_optimizer(
        OptimizationOptions(optimizer="muon", weight_decay=0.1),
        learning_rate=rate,
        variables=model.trainable_variables,
        matrices=hidden_matrices(model),
    )


def moved(*, policy="float32", **options):
    """How far the matrices of a student go in two steps, as one vector."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = randomize(student(depth=1))
    finally:
        keras.config.set_dtype_policy(before)
    state = make_state(model, optimizer=muon(model))
    matrices = hidden_matrices(model)
    start = values(matrices)
    made = trainer(state, batch_size=16, **options)
    batches = [batch(16, seed=i) for i in range(2)]
    made.call(feed(tf.distribute.get_strategy(), batches), first_step=0, steps=2)
    differences = [a - b for a, b in zip(values(matrices), start, strict=True)]
    return np.concatenate([difference.ravel() for difference in differences])


@pytest.fixture(scope="module")
def plainly_moved():
    return moved()


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"accumulation_steps": 2}, 1e-3),
        ({"jit_compile": True}, 1e-3),
        ({"policy": "mixed_bfloat16"}, 0.2),
    ],
)
def test_matrices_move_alike(plainly_moved, options, tolerance):
    """AdamW's variables are left out: it divides rounding errors by themselves."""
    own = moved(**options)
    apart = np.linalg.norm(own - plainly_moved) / np.linalg.norm(plainly_moved)
    assert apart < tolerance
