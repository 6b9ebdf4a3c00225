"""MINE: a neural estimate of the mutual information between a token set's two tokens.

A critic ψ scores pairs (T_S, T_C). The Donsker–Varadhan bound

    I(T_S; T_C) ≥ V = E_joint[ψ] − log E_marginal[exp ψ]

is raised by ψ and lowered by the student (Li et al. 2022, Algorithm 1 and Eq. 9). Joint pairs are
the tokens of one image; marginal pairs take T_C from another image of the batch. The gradient of
the logarithm of a batch mean is biased, so the mean in its denominator can be a moving average
(Belghazi et al. 2018, arXiv 1801.04062, section 3.2).

Nothing here knows of replicas. Statistics that add up (`statistics`) are summed over replicas by a
function which the caller gives, and only their values are: the gradient stays local.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from std_keras.errors import InputError

NOT_STARTED = float("-inf")
"""`log_average` before the first batch: the logarithm of an average of nothing."""

# A sum of exponentials is kept in bins, each with its own exponent (see `statistics`).
_BINS = 512
_BIN_WIDTH = 64.0  # nats; exp(±32) is far inside float32, whatever the number of replicas


@keras.saving.register_keras_serializable(package="std_keras")
class Critic(keras.Layer):
    """ψ: Dense(units)–GELU–Dense(units)–GELU–Dense(1) on [T_S ‖ T_C].

    Called as `critic(spatial, channel)` with shapes (B, N) and (B, P); returns scores (B,). It
    computes in float32 under any global dtype policy, since scores are exponentiated, unless
    `dtype` says float64.

    The bias of the last layer shifts all scores, which leaves V as it is: its gradient is exactly
    zero without bias correction. With it, it moves to hold the batch mean near the moving average.

    Source: Li et al. 2022 (three layers, 512 wide); GELU as in the public PyTorch reproduction.

    Args:
        units: width of the two hidden layers.
    """

    def __init__(self, units: int = 512, *, dtype: object = "float32", **kwargs):
        super().__init__(dtype=dtype, **kwargs)
        self.units = units
        policy = self.dtype_policy
        self.hidden_1 = keras.layers.Dense(units, activation="gelu", dtype=policy, name="hidden_1")
        self.hidden_2 = keras.layers.Dense(units, activation="gelu", dtype=policy, name="hidden_2")
        self.score = keras.layers.Dense(1, dtype=policy, name="score")

    def build(self, spatial_shape, channel_shape):
        self.hidden_1.build((None, spatial_shape[-1] + channel_shape[-1]))
        self.hidden_2.build((None, self.units))
        self.score.build((None, self.units))

    def call(self, spatial, channel):
        pair = keras.ops.concatenate([spatial, channel], axis=-1)
        return keras.ops.squeeze(self.score(self.hidden_2(self.hidden_1(pair))), axis=-1)

    def compute_output_shape(self, spatial_shape, channel_shape):
        return tuple(spatial_shape[:-1])

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def derangement(size: int) -> np.ndarray:
    """A fixed permutation without fixed points: neighbours 2i and 2i+1 swap places.

    An odd size rotates its last three. Swapping neighbours never leaves a pair, so every split of
    a batch into parts of even size (over replicas, over micro-batches) makes the same pairs: the
    estimate over a global batch does not depend on the number of replicas. A random permutation or
    a shift by one would not have that.

    Args:
        size: number of examples, at least 2.

    Returns:
        (size,) int32: example i is paired with example `indices[i]`.

    Raises:
        InputError: fewer than 2 examples.
        TypeError: the size is not an integer (it must be known when the graph is made).
    """
    size = operator.index(size)
    if size < 2:
        raise InputError(
            "`batch_size`: the mutual information term pairs each example with another, but a "
            f"replica has only {size} at a time; use at least 2 per replica and micro-batch, or "
            "mine_weight=0"
        )
    indices = np.arange(size, dtype=np.int32)
    if size % 2 == 0:
        return indices ^ 1
    paired = size - 3
    indices[:paired] ^= 1
    indices[paired:] = np.roll(indices[paired:], -1)
    return indices


def pair_scores(
    critic: Callable[..., tf.Tensor], spatial: tf.Tensor, channel: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scores of the joint and of the marginal pairs of a batch, in one pass through the critic.

    Args:
        critic: ψ, called with (2B, N) and (2B, P).
        spatial: (B, N), B known when the graph is made.
        channel: (B, P).

    Returns:
        Joint scores (B,) and marginal scores (B,), pairs as `derangement` says.

    Raises:
        InputError: B is below 2.
        ValueError: B is not static.
    """
    size = spatial.shape[0]
    if size is None:
        raise ValueError(f"the batch size must be static, but spatial has shape {spatial.shape}")
    shuffled = tf.gather(channel, derangement(size))
    scores = critic(tf.concat([spatial, spatial], 0), tf.concat([channel, shuffled], 0))
    return scores[:size], scores[size:]


def donsker_varadhan(joint: tf.Tensor, marginal: tf.Tensor) -> tf.Tensor:
    """V = mean(joint) − log mean exp(marginal), in nats, over one whole batch.

    For a batch that is spread over replicas see `estimate`. Source: Li et al. 2022, Eq. 9.

    Args:
        joint: (B,) scores of joint pairs.
        marginal: (B,) scores of marginal pairs.

    Returns:
        Scalar. A batch of B can show at most about log B nats reliably.
    """
    joint, marginal = _scores(joint), _scores(marginal)
    count = tf.cast(tf.size(marginal), marginal.dtype)
    return tf.reduce_mean(joint) - (tf.reduce_logsumexp(marginal) - tf.math.log(count))


def statistics(joint: tf.Tensor, marginal: tf.Tensor) -> tf.Tensor:
    """What `bound` needs of a part of a batch; the parts' statistics add up.

    The first number is the sum of the joint scores. The others are Σ exp(marginal) as a number
    with a wide exponent: the part's sum is in the bin of its own size, divided by the bin's
    scale. A plain Σ exp would overflow above 88, and sharing a common scale first needs a maximum
    over replicas, which `tf.distribute` does not offer. Log-sums up to ±16384 nats are exact; far
    beyond, the bound is no longer finite (the training has diverged long before).

    Args:
        joint: (b,) scores of joint pairs.
        marginal: (b,) scores of marginal pairs.

    Returns:
        (513,), without a gradient.
    """
    joint, marginal = _scores(joint), _scores(marginal)
    log_sum = tf.reduce_logsumexp(marginal)
    scales = _log_scales(marginal.dtype)
    nearest = tf.argmin(tf.abs(scales - log_sum))
    # Not a product with a one-hot vector: 0 · inf and 0 · NaN would spread over all bins.
    shares = tf.exp(log_sum - scales)
    own = tf.range(_BINS, dtype=tf.int64) == nearest
    sums = tf.where(own, shares, tf.zeros_like(shares))
    return tf.stop_gradient(tf.concat([tf.reduce_sum(joint)[tf.newaxis], sums], axis=0))


def bound(summed: tf.Tensor, *, batch_size: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """V and log mean exp(marginal) from summed `statistics`; for values, not for gradients.

    Args:
        summed: (513,), the sum of the parts' statistics.
        batch_size: number of examples in all parts together.

    Returns:
        Two scalars: V, and log mean exp of the marginal scores.
    """
    count = tf.cast(batch_size, summed.dtype)
    log_sum = tf.reduce_logsumexp(tf.math.log(summed[1:]) + _log_scales(summed.dtype))
    log_mean = log_sum - tf.math.log(count)
    return summed[0] / count - log_mean, log_mean


@dataclass(frozen=True)
class Estimate:
    """What one batch tells about the mutual information.

    Attributes:
        value: V of the global batch, in nats, for the log; equal on every replica (do not sum it).
        surrogate: this replica's part; summed over replicas its *gradient* is that of V, bias
            corrected if asked for. Its own value means nothing.
        log_average: logarithm of the moving average of mean exp(marginal), to keep for the next
            batch; equal on every replica.
    """

    value: tf.Tensor
    surrogate: tf.Tensor
    log_average: tf.Tensor


def estimate(
    joint: tf.Tensor,
    marginal: tf.Tensor,
    *,
    log_average: float | tf.Tensor,
    global_batch_size: int | tf.Tensor,
    rate: float = 0.01,
    bias_correction: bool = True,
    sum_over_replicas: Callable[[tf.Tensor], tf.Tensor] = lambda summand: summand,
) -> Estimate:
    """V of a global batch, from the scores that this replica has, and how to differentiate it.

    The gradient of V is E[∇ψ_joint] − E[exp(ψ_marginal) ∇ψ_marginal] / E[exp(ψ_marginal)]. The
    surrogate whose gradient that is holds the denominator constant:

        Σ_i joint_i / B − Σ_i exp(marginal_i) / denominator / B

    The denominator is the mean over the global batch (then the gradient is V's own), or with
    `bias_correction` its moving average: the first batch starts it, and every batch enters at
    `rate` before it is used (Belghazi et al. 2018). As the batch is in its denominator, each
    exp(marginal_i)/denominator is at most B/rate; all is done on logarithms, and nothing overflows.

    Only constants are summed over replicas. An all-reduce inside the gradient tape would be
    differentiated as a second all-reduce and count the gradient once per replica.

    Args:
        joint: (b,) scores of this replica's joint pairs.
        marginal: (b,) scores of this replica's marginal pairs.
        log_average: scalar, from the last `Estimate`, or `NOT_STARTED`.
        global_batch_size: number of examples on all replicas together.
        rate: weight of a new batch in the moving average, between 0 and 1.
        bias_correction: use the moving average as denominator. It is kept up in either case.
        sum_over_replicas: sums a (513,) tensor over replicas, such as `tf.distribute`'s
            all-reduce; the identity where there is one replica.

    Returns:
        An `Estimate`. ψ ascends on the surrogate, the student descends on it.

    Raises:
        ValueError: the rate is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate must be between 0 and 1, got {rate}")
    joint, marginal = _scores(joint), _scores(marginal)
    summed = sum_over_replicas(statistics(joint, marginal))  # constants: `statistics` stops it
    value, log_mean = bound(summed, batch_size=global_batch_size)

    previous = tf.stop_gradient(tf.cast(log_average, marginal.dtype))
    updated = tf.reduce_logsumexp(
        tf.stack([previous + math.log1p(-rate), log_mean + math.log(rate)])
    )
    updated = tf.where(tf.equal(previous, NOT_STARTED), log_mean, updated)

    log_denominator = updated if bias_correction else log_mean
    count = tf.cast(global_batch_size, marginal.dtype)
    ratios = tf.exp(marginal - log_denominator)
    surrogate = (tf.reduce_sum(joint) - tf.reduce_sum(ratios)) / count
    return Estimate(value=value, surrogate=surrogate, log_average=updated)


def _scores(scores: tf.Tensor) -> tf.Tensor:
    scores = tf.convert_to_tensor(scores)
    if scores.dtype != tf.float64:
        scores = tf.cast(scores, tf.float32)
    if scores.shape.rank != 1:
        raise ValueError(f"scores must have shape (B,), got {scores.shape}")
    return scores


def _log_scales(dtype: tf.DType) -> tf.Tensor:
    return (tf.range(_BINS, dtype=dtype) - _BINS // 2) * _BIN_WIDTH
