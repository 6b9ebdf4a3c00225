from __future__ import annotations

import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras.layers import StochasticDepth
from tests import processes


def test_identity_at_inference(rng):
    x = rng.normal(size=(5, 3, 2)).astype("float32")
    np.testing.assert_array_equal(StochasticDepth(0.9)(x, training=False), x)


def test_drops_whole_samples_and_keeps_the_expectation():
    x = np.ones((20000, 2, 3), "float32")
    y = np.array(StochasticDepth(0.2, seed=3)(x, training=True))
    assert set(np.unique(y)) == {np.float32(0.0), np.float32(1.25)}
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1, :1], y.shape))
    # The standard error of the mean is 0.5 / sqrt(20000) = 0.0035.
    assert y.mean() == pytest.approx(1.0, abs=0.015)


def test_equal_seeds_draw_equal_numbers_that_change_from_call_to_call():
    x = np.ones((64, 1), "float32")
    one, two = StochasticDepth(0.5, seed=5), StochasticDepth(0.5, seed=5)
    first, second = one(x, training=True), one(x, training=True)
    np.testing.assert_array_equal(first, two(x, training=True))
    np.testing.assert_array_equal(second, two(x, training=True))
    assert np.any(np.array(first) != np.array(second))


def test_state_is_a_variable_that_survives_saving(reload):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, StochasticDepth(0.5, seed=5)(inputs))
    x = np.ones((64, 2), "float32")
    first = np.array(model(x, training=True))
    loaded = reload(model)
    second = np.array(model(x, training=True))
    np.testing.assert_array_equal(loaded(x, training=True), second)
    assert np.any(first != second)


def test_state_is_in_tensorflow_checkpoints(tmp_path):
    x = np.ones((64, 2), "float32")
    layer = StochasticDepth(0.5, seed=5)
    layer(x, training=True)
    path = tf.train.Checkpoint(layer=layer).write(tmp_path / "checkpoint")
    restored = StochasticDepth(0.5, seed=6)
    tf.train.Checkpoint(layer=restored).read(path).assert_consumed()
    np.testing.assert_array_equal(restored(x, training=True), layer(x, training=True))


def test_no_state_without_a_rate():
    assert not StochasticDepth(0.0).variables


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_bad_rate(rate):
    with pytest.raises(ValueError, match=f"rate={rate}"):
        StochasticDepth(rate)


def test_replicas_draw_different_numbers():
    # Logical devices must be set before TensorFlow starts, hence a process of its own.
    program = """
        import keras
        import numpy as np
        import tensorflow as tf
        from std_keras.layers import StochasticDepth

        cpu = tf.config.list_physical_devices("CPU")[0]
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        with strategy.scope():
            inputs = keras.Input((4,))
            x = StochasticDepth(0.5, seed=1)(keras.layers.Dense(3)(inputs))
            model = keras.Model(inputs, x)

        @tf.function
        def step(x):
            def replica_step(x):
                with tf.GradientTape() as tape:
                    y = model(x, training=True)
                    loss = tf.reduce_sum(y)
                return y, tape.gradient(loss, model.trainable_variables)
            return strategy.run(replica_step, args=(x,))

        for _ in range(2):
            outputs, gradients = step(tf.ones((64, 4)))
            masks = [y.numpy().any(axis=1) for y in strategy.experimental_local_results(outputs)]
            assert (masks[0] != masks[1]).any(), masks
            assert len(gradients) == 2
        state = model.layers[-1].seed_generator.state.value
        counters = [int(v[1]) for v in strategy.experimental_local_results(state)]
        assert counters == [2, 2], counters
    """
    done = processes.run("-c", textwrap.dedent(program))
    assert done.returncode == 0, done.stderr
