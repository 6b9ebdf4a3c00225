"""How much two tokens tell about each other, by a critic that is judged on images it never saw.

The estimate that training logs comes from the batches the critic learns on, and from a critic
that follows moving tokens. Here a new critic learns on one part of the images, a second part
chooses when to stop, and the Donsker–Varadhan bound is read on a third: what the critic learned by
heart does not count. The bound's expectation is then at most the mutual information (up to the
logarithm of a mean over finitely many pairs).

Source: Belghazi et al. 2018, "MINE", arXiv 1801.04062, Eq. 5 (the bound).
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from std_keras.losses import mine

_SHIFTS = 16  # How many unpaired partners each example gets when a bound is evaluated.


@dataclass(frozen=True)
class HeldOutBound:
    """Bounds on I(X; Z) in nats.

    Attributes:
        bound: on the third part, at the chosen step; at most about log of `examples`.
        examples: of the third part.
        step: the chosen step.
        steps: steps of the curves.
        training: bound on the images that the critic learned from.
        choosing: bound on the second part, whose largest value chooses.
    """

    bound: float
    examples: int
    step: int
    steps: tuple[int, ...]
    training: tuple[float, ...]
    choosing: tuple[float, ...]


def held_out_bound(
    first: np.ndarray,
    second: np.ndarray,
    *,
    steps: int = 500,
    batch_size: int = 256,
    learning_rate: float = 5e-4,
    evaluations: int = 20,
    units: int = 256,
    seed: int = 0,
) -> HeldOutBound:
    """Trains a critic on half of the examples and judges it on the others.

    Args:
        first: (n, d1), n ≥ 40.
        second: (n, d2), paired with `first`.
        steps: of Adam.
        batch_size: examples a step; fewer if the half is smaller.
        learning_rate: of Adam.
        evaluations: points of the curves.
        units: width of the critic.
        seed: of the parts, the critic and the batches.

    Raises:
        ValueError: too few examples, or numbers that do not match.
    """
    count = len(first)
    if count != len(second) or count < 40:
        raise ValueError(f"at least 40 pairs are needed, got {count} and {len(second)}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    rng = np.random.default_rng(seed)
    learn, choose, judge = np.split(rng.permutation(count), [count // 2, count * 3 // 4])
    x, z = (_standardised(values, learn) for values in (first, second))

    keras.utils.set_random_seed(seed)
    critic = mine.Critic(units)
    critic.build((None, x.shape[1]), (None, z.shape[1]))
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build(critic.trainable_variables)
    batch_size = min(batch_size, len(learn))

    @tf.function
    def step(some_x: tf.Tensor, some_z: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = -mine.donsker_varadhan(*mine.pair_scores(critic, some_x, some_z))
        gradients = tape.gradient(loss, critic.trainable_variables)
        optimizer.apply(gradients)

    marks = set(np.unique(np.linspace(1, steps, min(evaluations, steps)).astype(int)).tolist())
    curve: list[tuple[int, float, float]] = []
    best, kept, chosen = -np.inf, critic.get_weights(), 0
    for number in range(1, steps + 1):
        rows = rng.choice(learn, batch_size, replace=False)
        step(tf.constant(x[rows]), tf.constant(z[rows]))
        if number in marks:
            learned, unseen = (_bound(critic, x[part], z[part]) for part in (learn, choose))
            curve.append((number, learned, unseen))
            if unseen > best:
                best, kept, chosen = unseen, critic.get_weights(), number
    critic.set_weights(kept)
    numbers, training, choosing = zip(*curve, strict=True)
    return HeldOutBound(
        bound=_bound(critic, x[judge], z[judge]),
        examples=len(judge),
        step=chosen,
        steps=numbers,
        training=training,
        choosing=choosing,
    )


def _standardised(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1 per column over `rows`; mutual information does not change by it."""
    mean, deviation = values[rows].mean(axis=0), values[rows].std(axis=0)
    return ((values - mean) / np.where(deviation > 0, deviation, 1.0)).astype(np.float32)


def _bound(critic: mine.Critic, x: np.ndarray, z: np.ndarray) -> float:
    """The bound over all pairs of a part; every example meets up to `_SHIFTS` strangers."""
    joint = np.asarray(critic(x, z))
    shifts = np.unique(np.linspace(1, len(x) - 1, min(_SHIFTS, len(x) - 1)).astype(int))
    marginal = np.concatenate([np.asarray(critic(x, np.roll(z, s, axis=0))) for s in shifts])
    return float(mine.donsker_varadhan(tf.constant(joint), tf.constant(marginal)))
