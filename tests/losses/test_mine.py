"""The information bound against closed forms, NumPy in float64, and automatic differentiation."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras.errors import InputError
from std_keras.losses import mine

HUGE = {
    "usual": (0.0, 1.0),
    "up": (1e4, 1.0),
    "down": (-1e4, 1.0),
    "spread": (0.0, 5e3),
}


def log_mean_exp(scores):
    scores = np.asarray(scores, np.float64)
    top = scores.max()
    return top + np.log(np.mean(np.exp(scores - top)))


def reference_bound(joint, marginal):
    return np.mean(np.asarray(joint, np.float64)) - log_mean_exp(marginal)


def gaussians(rng, size, rho):
    x = rng.normal(size=(size, 1))
    z = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=(size, 1))
    return x.astype(np.float32), z.astype(np.float32)


def information(rho):
    return -0.5 * np.log(1 - rho**2)


def best_critic(x, z, rho):
    """The optimal critic of a pair of correlated Gaussians: the log density ratio."""
    quadratic = rho**2 * (x**2 + z**2) - 2 * rho * x * z
    return (-0.5 * np.log(1 - rho**2) - quadratic / (2 * (1 - rho**2)))[:, 0]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def scores(rng):
    joint = rng.normal(1.0, 1.0, 16).astype(np.float32)
    marginal = rng.normal(0.0, 1.5, 16).astype(np.float32)
    return joint, marginal


# The bound


@pytest.mark.parametrize("name", HUGE)
def test_the_bound_is_the_closed_form_and_never_overflows(rng, name):
    mean, deviation = HUGE[name]
    joint = rng.normal(mean, deviation, 64).astype(np.float32)
    marginal = rng.normal(mean, deviation, 64).astype(np.float32)
    expected = reference_bound(joint, marginal)
    got = mine.donsker_varadhan(joint, marginal)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-2 if abs(mean) > 1 else 1e-5)
    logged = mine.estimate(
        joint, marginal, log_average=mine.NOT_STARTED, global_batch_size=64
    ).value
    np.testing.assert_allclose(logged, expected, rtol=1e-5, atol=1e-2 if abs(mean) > 1 else 1e-5)


@pytest.mark.parametrize("rho", [0.2, 0.5])
def test_the_best_critic_of_gaussians_attains_their_information(rng, rho):
    x, z = gaussians(rng, 400_000, rho)
    shuffled = z[mine.derangement(len(z))]
    got = mine.donsker_varadhan(best_critic(x, z, rho), best_critic(x, shuffled, rho))
    # Standard error 9e-4 at rho = 0.5.
    np.testing.assert_allclose(got, information(rho), atol=3e-3)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_statistics_of_parts_add_up_to_the_bound_of_the_whole(rng, parts):
    # One part's scores are 200 nats above the others': a plain sum of exponentials overflows.
    joint, marginal = rng.normal(size=(2, 16)).astype(np.float32)
    marginal[:4] += 200.0
    summed = sum(
        mine.statistics(*part)
        for part in zip(np.split(joint, parts), np.split(marginal, parts), strict=True)
    )
    value, log_mean = mine.bound(summed, batch_size=16)
    np.testing.assert_allclose(log_mean, log_mean_exp(marginal), rtol=1e-6)
    np.testing.assert_allclose(value, reference_bound(joint, marginal), rtol=1e-6)


@pytest.mark.parametrize("offset", [-31.9, -32.1, 31.9, 32.1, 63.0, 1000.0, -1000.0])
def test_parts_whose_sums_lie_in_different_bins_add_up(offset):
    near, far = np.float32([0.5, 1.0]) + np.float32(offset), np.float32([-0.3, 0.2])
    summed = mine.statistics(near, near) + mine.statistics(far, far)
    _, log_mean = mine.bound(summed, batch_size=4)
    expected = log_mean_exp(np.concatenate([near, far]))
    np.testing.assert_allclose(log_mean, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_scores_show_in_the_value(scores, bad):
    joint, marginal = scores
    marginal = marginal.copy()
    marginal[3] = bad
    got = mine.estimate(joint, marginal, log_average=0.0, global_batch_size=16)
    assert not np.isfinite(got.value)


# The estimate: gradient, moving average, replicas


def surrogate_gradients(joint, marginal, **options):
    joint, marginal = tf.constant(joint), tf.constant(marginal)
    with tf.GradientTape() as tape:
        tape.watch([joint, marginal])
        result = mine.estimate(joint, marginal, **options)
    return result, [part.numpy() for part in tape.gradient(result.surrogate, [joint, marginal])]


def test_without_correction_the_gradient_is_that_of_the_bound(scores):
    joint, marginal = (tf.constant(part) for part in scores)
    with tf.GradientTape() as tape:
        tape.watch([joint, marginal])
        value = mine.donsker_varadhan(joint, marginal)
    exact = tape.gradient(value, [joint, marginal])
    result, got = surrogate_gradients(
        *scores, log_average=3.0, global_batch_size=16, bias_correction=False
    )
    np.testing.assert_allclose(result.value, value, rtol=1e-5)
    np.testing.assert_allclose(got[0], exact[0], rtol=1e-5)
    np.testing.assert_allclose(got[1], exact[1], rtol=1e-5)


@pytest.mark.parametrize("bias_correction", [True, False])
def test_the_moving_average_is_that_of_numpy(rng, bias_correction):
    average, log_average = None, mine.NOT_STARTED
    for _ in range(5):
        joint, marginal = rng.normal(size=(2, 16)).astype(np.float32)
        mean = np.mean(np.exp(marginal.astype(np.float64)))
        average = mean if average is None else 0.9 * average + 0.1 * mean
        result, got = surrogate_gradients(
            joint,
            marginal,
            log_average=log_average,
            global_batch_size=16,
            rate=0.1,
            bias_correction=bias_correction,
        )
        log_average = result.log_average
        np.testing.assert_allclose(log_average, np.log(average), atol=1e-5)
        denominator = average if bias_correction else mean
        np.testing.assert_allclose(got[0], np.full(16, 1 / 16), rtol=1e-6)
        np.testing.assert_allclose(got[1], -np.exp(marginal) / denominator / 16, rtol=1e-5)
        np.testing.assert_allclose(result.value, reference_bound(joint, marginal), atol=1e-5)
    assert abs(np.log(average) - np.log(mean)) > 1e-3  # the two denominators do differ


@pytest.mark.parametrize("bias_correction", [True, False])
@pytest.mark.parametrize("gap", [0.0, 300.0])
def test_two_replicas_equal_one(rng, bias_correction, gap):
    joint, marginal = rng.normal(size=(2, 12)).astype(np.float32)
    marginal[6:] -= gap
    options = dict(log_average=0.4, global_batch_size=12, bias_correction=bias_correction)
    whole, whole_gradients = surrogate_gradients(joint, marginal, **options)

    halves = [(joint[:6], marginal[:6]), (joint[6:], marginal[6:])]
    summed = sum(mine.statistics(*half) for half in halves)
    parts = [
        surrogate_gradients(*half, sum_over_replicas=lambda _: summed, **options) for half in halves
    ]
    for result, _ in parts:
        np.testing.assert_allclose(result.value, whole.value, rtol=1e-5)
        np.testing.assert_allclose(result.log_average, whole.log_average, rtol=1e-5)
    np.testing.assert_allclose(
        sum(result.surrogate for result, _ in parts), whole.surrogate, rtol=1e-5
    )
    for index in range(2):
        together = np.concatenate([gradients[index] for _, gradients in parts])
        np.testing.assert_allclose(together, whole_gradients[index], rtol=1e-5, atol=1e-30)


def test_the_sum_over_replicas_is_outside_the_gradient(scores):
    # As an all-reduce of a replicated value is differentiated: the gradient, summed once more.
    backward_calls = []

    @tf.custom_gradient
    def doubling(value):
        def backward(upstream):
            backward_calls.append(1)
            return 2 * upstream

        return tf.identity(value), backward

    options = dict(log_average=0.4, global_batch_size=16)
    _, plain = surrogate_gradients(*scores, **options)
    _, got = surrogate_gradients(*scores, sum_over_replicas=doubling, **options)
    np.testing.assert_array_equal(got, plain)
    assert not backward_calls


@pytest.mark.parametrize("bias_correction", [True, False])
@pytest.mark.parametrize("log_average", [mine.NOT_STARTED, 0.0, 1e4, -1e4])
@pytest.mark.parametrize("level", [1e4, -1e4, 0.0])
def test_extreme_scores_keep_everything_finite(rng, bias_correction, log_average, level):
    marginal = np.float32([level, -level, 0.0, 1.0])
    joint = np.float32([level, level, 0.0, 1.0])
    result, gradients = surrogate_gradients(
        joint,
        marginal,
        log_average=log_average,
        global_batch_size=4,
        bias_correction=bias_correction,
    )
    assert np.isfinite([result.value, result.surrogate, result.log_average]).all()
    assert np.isfinite(gradients).all()
    # exp(score)/denominator/B is at most 1/rate, but for float32's step of 1e-3 at 1e4.
    assert np.abs(gradients).max() <= 1.01 / 0.01


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1])
def test_a_rate_outside_its_range_is_refused(scores, rate):
    with pytest.raises(ValueError, match=f"rate must be between 0 and 1, got {rate}"):
        mine.estimate(*scores, log_average=0.0, global_batch_size=16, rate=rate)


@pytest.mark.parametrize("function", [mine.donsker_varadhan, mine.statistics])
def test_scores_with_a_trailing_axis_are_refused(function):
    with pytest.raises(ValueError, match=r"must have shape \(B,\)"):
        function(tf.zeros((4, 1)), tf.zeros((4, 1)))


def test_the_estimate_compiles_with_xla(scores):
    @tf.function(jit_compile=True)
    def compiled(joint, marginal, log_average):
        result = mine.estimate(joint, marginal, log_average=log_average, global_batch_size=16)
        return result.value, result.log_average

    value, log_average = compiled(*map(tf.constant, scores), tf.constant(mine.NOT_STARTED))
    np.testing.assert_allclose(value, reference_bound(*scores), rtol=1e-5)
    np.testing.assert_allclose(log_average, log_mean_exp(scores[1]), rtol=1e-5)


# The pairing


@pytest.mark.parametrize("size", range(2, 66))
def test_a_derangement_permutes_and_fixes_nothing(size):
    indices = mine.derangement(size)
    np.testing.assert_array_equal(np.sort(indices), np.arange(size))
    assert (indices != np.arange(size)).all()


@pytest.mark.parametrize(
    ("size", "expected"),
    [(2, [1, 0]), (3, [1, 2, 0]), (4, [1, 0, 3, 2]), (5, [1, 0, 3, 4, 2])],
)
def test_derangements_of_small_sizes(size, expected):
    np.testing.assert_array_equal(mine.derangement(size), expected)


@pytest.mark.parametrize(("size", "parts"), [(64, 2), (64, 32), (48, 3), (12, 6)])
def test_the_pairs_are_the_same_for_every_even_split(size, parts):
    part = size // parts
    split = np.concatenate([mine.derangement(part) + start for start in range(0, size, part)])
    np.testing.assert_array_equal(split, mine.derangement(size))


@pytest.mark.parametrize("size", [0, 1])
def test_a_batch_without_another_example_is_refused(size):
    with pytest.raises(InputError, match="`batch_size`"):
        mine.derangement(size)


def test_a_batch_size_that_is_not_known_is_refused():
    spatial = keras.Input((3,))
    with pytest.raises(ValueError, match="static"):
        mine.pair_scores(mine.Critic(units=4), spatial, spatial)


# The critic


@pytest.fixture
def tokens(rng):
    return rng.normal(size=(6, 8)).astype(np.float32), rng.normal(size=(6, 5)).astype(np.float32)


def test_the_critic_is_the_published_mlp(tokens):
    critic = mine.Critic()
    got = critic(*tokens)
    kernels = [weight.numpy().astype(np.float64) for weight in critic.trainable_weights]
    assert [kernel.shape for kernel in kernels] == [
        (13, 512),
        (512,),
        (512, 512),
        (512,),
        (512, 1),
        (1,),
    ]

    def gelu(x):
        erf = tf.math.erf(tf.constant(x / np.sqrt(2))).numpy()
        return 0.5 * x * (1 + erf)

    hidden = np.concatenate(tokens, axis=-1)
    hidden = gelu(hidden @ kernels[0] + kernels[1])
    hidden = gelu(hidden @ kernels[2] + kernels[3])
    expected = hidden @ kernels[4] + kernels[5]
    np.testing.assert_allclose(got, expected[:, 0], atol=1e-5)


def test_pair_scores_are_the_scores_of_both_kinds_of_pairs(tokens):
    critic = mine.Critic(units=16)
    joint, marginal = mine.pair_scores(critic, *tokens)
    np.testing.assert_allclose(joint, critic(*tokens), rtol=1e-5)
    swapped = tokens[1][[1, 0, 3, 2, 5, 4]]
    np.testing.assert_allclose(marginal, critic(tokens[0], swapped), rtol=1e-5)


@pytest.mark.parametrize("bias_correction", [True, False])
def test_every_weight_of_the_critic_has_a_gradient_but_the_last_bias(tokens, bias_correction):
    critic = mine.Critic(units=16)
    with tf.GradientTape() as tape:
        joint, marginal = mine.pair_scores(critic, *tokens)
        surrogate = mine.estimate(
            joint,
            marginal,
            log_average=0.5,
            global_batch_size=6,
            bias_correction=bias_correction,
        ).surrogate
    *others, bias = tape.gradient(surrogate, critic.trainable_weights)
    assert all(np.abs(gradient).max() > 1e-4 for gradient in others)
    # A shift of all scores leaves the bound as it is; a moving average does not shift along.
    assert (abs(bias.numpy()[0]) < 1e-6) != bias_correction


def test_the_critic_stays_float32_under_mixed_precision(tokens):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        critic = mine.Critic(units=16)
        got = critic(*(tf.cast(token, tf.bfloat16) for token in tokens))
    finally:
        keras.config.set_dtype_policy(before)
    assert got.dtype == tf.float32
    assert critic.hidden_2.compute_dtype == "float32"


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_saved_critic_gives_the_same_scores(tokens, tmp_path, dtype):
    inputs = [keras.Input((8,)), keras.Input((5,))]
    model = keras.Model(inputs, mine.Critic(units=16, dtype=dtype, name="psi")(*inputs))
    assert model.output_shape == (None,)
    model.save(tmp_path / "critic.keras")
    loaded = keras.models.load_model(tmp_path / "critic.keras")
    restored = loaded.get_layer("psi")
    assert (restored.units, restored.dtype_policy.name) == (16, dtype)
    np.testing.assert_array_equal(loaded(tokens), model(tokens))


@pytest.mark.parametrize(("rho", "tolerance"), [(0.0, 0.01), (0.5, 0.02), (0.9, 0.04)])
def test_a_trained_critic_finds_the_information_of_gaussians(rng, rho, tolerance):
    keras.utils.set_random_seed(1)
    critic = mine.Critic(units=64)
    critic.build((None, 1), (None, 1))
    optimizer = keras.optimizers.Adam(2e-3)
    optimizer.build(critic.trainable_variables)
    log_average = tf.Variable(mine.NOT_STARTED)

    @tf.function
    def ascend(x, z):
        with tf.GradientTape() as tape:
            result = mine.estimate(
                *mine.pair_scores(critic, x, z), log_average=log_average, global_batch_size=512
            )
            loss = -result.surrogate
        log_average.assign(result.log_average)
        gradients = tape.gradient(loss, critic.trainable_variables)
        optimizer.apply(gradients, critic.trainable_variables)

    for _ in range(400):
        ascend(*map(tf.constant, gaussians(rng, 512, rho)))
    fresh = gaussians(rng, 50_000, rho)
    got = mine.donsker_varadhan(*mine.pair_scores(critic, *map(tf.constant, fresh)))
    np.testing.assert_allclose(got, information(rho), atol=tolerance)


def test_float64_scores_give_the_bound_and_its_gradient_in_float64(rng):
    joint, marginal = rng.normal(1.0, 1.0, 16), rng.normal(0.0, 1.5, 16)
    scores = tf.constant(marginal)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        found = mine.estimate(
            tf.constant(joint),
            scores,
            log_average=mine.NOT_STARTED,
            global_batch_size=16,
            bias_correction=False,
        )
    assert found.value.dtype == found.surrogate.dtype == found.log_average.dtype == tf.float64
    np.testing.assert_allclose(found.value, reference_bound(joint, marginal), rtol=1e-13)
    np.testing.assert_allclose(found.log_average, log_mean_exp(marginal), rtol=1e-13)
    ratios = np.exp(marginal - log_mean_exp(marginal)) / 16
    np.testing.assert_allclose(tape.gradient(found.surrogate, scores), -ratios, rtol=1e-12)
    critic = mine.Critic(8, dtype="float64")
    assert critic(tf.ones((4, 3), tf.float64), tf.ones((4, 2), tf.float64)).dtype == tf.float64
