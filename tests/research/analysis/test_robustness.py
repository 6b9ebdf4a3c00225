"""Seven ways of training and the figures of attacked networks, on linear networks."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras.research.analysis import ccat
from std_keras.research.analysis.pgd import Attack
from std_keras.research.analysis.robustness import (
    Judgement,
    RobustTraining,
    disagreement,
    squared_error,
    summarize,
)
from std_keras.research.analysis.small_training import SmallTraining


def flat(matrix):
    return lambda x: tf.linalg.matmul(tf.reshape(x, (-1, matrix.shape[0])) - 128.0, matrix)


@pytest.fixture
def setting():
    """Student and teacher, linear with two classes; images and their labels."""
    rng = np.random.default_rng(4)
    student, teacher = (rng.normal(0.0, 0.01, (4, 2)).astype(np.float32) for _ in range(2))
    images = rng.uniform(50, 200, (6, 2, 2, 1)).astype(np.float32)
    return student, teacher, images, np.array([0, 1, 0, 1, 0, 1])


def cross_entropy(logits, labels):
    logits = logits.astype(np.float64)
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]


def test_each_loss_on_linear_networks(setting):
    """With two classes the worst image is known: all pixels go against the label."""
    student, teacher, images, labels = setting
    ways = RobustTraining(teacher=flat(teacher), attack=Attack(8.0, 3), rho=2.0).losses()
    network = flat(student)

    def found(name):
        return ways[name](network, network, tf.constant(images), tf.constant(labels)).numpy()

    x = images.reshape(6, 4) - 128.0
    said, taught = x @ student, x @ teacher
    np.testing.assert_allclose(found("labels"), cross_entropy(said, labels), rtol=1e-4)
    np.testing.assert_allclose(
        found("classes"), cross_entropy(said, taught.argmax(1)), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(found("logits"), ((said - taught) ** 2).mean(1), rtol=1e-4)
    towards = np.sign(student[:, 1] - student[:, 0])  # Class 1.
    worst = x + 8.0 * np.where(labels == 0, 1, -1)[:, None] * towards
    np.testing.assert_allclose(
        found("labels, data adversarial"), cross_entropy(worst @ student, labels), rtol=1e-4
    )
    # Squared error of a linear difference: some corner of the cube is the worst.
    corners = np.array(np.meshgrid(*[[-8.0, 8.0]] * 4)).reshape(4, -1).T
    around = x[:, None] + corners
    errors = ((around @ (student - teacher)) ** 2).mean(-1)
    oracle = found("logits, oracle adversarial")
    assert (oracle >= ((said - taught) ** 2).mean(1) - 1e-4).all()
    assert (oracle <= errors.max(1) * (1 + 1e-4)).all()
    assert np.mean(oracle > 0.99 * errors.max(1)) > 0.5
    # CCAT: half clean; the attacked half is at the border of the ball, so uniform is its target.
    parts = found("labels, CCAT")
    np.testing.assert_allclose(parts[:3], cross_entropy(said, labels)[:3], rtol=1e-4)
    far = worst[3:] @ student
    uniform = 0.5 * (cross_entropy(far, np.zeros(3, int)) + cross_entropy(far, np.ones(3, int)))
    np.testing.assert_allclose(parts[3:], uniform, rtol=1e-4)


def test_oracle_adversarial_images_ask_the_oracle_where_they_are(setting):
    """A student equal to its oracle has no oracle adversarial images, though it is attackable."""
    _, teacher, images, _ = setting
    labels = ((images.reshape(6, 4) - 128.0) @ teacher).argmax(1)
    labels[0] = 1 - labels[0]
    judgement = Judgement(
        teacher=flat(teacher),
        judge=flat(-teacher),
        linf=Attack(100.0, 5),
        l2=Attack(200.0, 5, norm="l2"),
    )
    said = judgement.logits(flat(teacher), tf.constant(images), tf.constant(labels))
    logits = {name: value.numpy() for name, value in said.items()}
    found = summarize(logits, labels)
    assert found.agreement == found.agreement_oracle == 1.0
    assert found.top1 == pytest.approx(5 / 6)
    assert found.top1_linf == 0.0  # So far that each image can be turned.
    # The judge is of the opposite opinion, always.
    assert found.judged_linf == pytest.approx(1 - found.top1_linf)
    assert found.error_all >= found.error_confident or found.threshold == 0
    assert found.error_all >= 1 - found.top1


def test_summary_without_rejection_is_the_worse_of_clean_and_attacked():
    labels = np.array([0, 0, 0, 0])
    right, wrong, sure_wrong = [2.0, 0.0], [0.0, 1.0], [0.0, 5.0]
    rows = {"clean": [right, right, right, wrong], "confidence": [right, wrong, sure_wrong, right]}
    names = ("teacher", "linf", "l2", "oracle", "teacher_oracle", "judge_linf")
    logits = {name: np.array([right] * 4) for name in names}
    found = summarize(logits | {n: np.array(r) for n, r in rows.items()}, labels)
    assert (found.top1, found.agreement, found.error_all) == (0.75, 0.75, 0.75)
    # What is as sure as the right ones is accepted: every example once, the third attacked.
    assert found.threshold == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert found.error_confident == 0.25


def test_distances_and_their_gradients(setting):
    student, teacher, images, _ = setting
    a, b = flat(student)(images), flat(teacher)(images)
    np.testing.assert_allclose(squared_error(a, b), ((a - b).numpy() ** 2).mean(1), rtol=1e-5)
    p, q = tf.nn.softmax(b).numpy(), tf.nn.softmax(a).numpy()
    np.testing.assert_allclose(disagreement(a, b), (p * np.log(p / q)).sum(1), rtol=1e-3, atol=1e-5)
    x = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = disagreement(flat(student)(x), flat(teacher)(x))
    both = tape.gradient(value, x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = disagreement(flat(student)(x), tf.stop_gradient(flat(teacher)(x)))
    assert np.abs(both - tape.gradient(value, x)).max() > 1e-4  # The oracle's side counts.


def test_a_student_learns_a_teachers_logits():
    """Squared error from random images finds the linear teacher itself."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (256, 2, 2, 1), dtype=np.uint8)
    matrix = rng.normal(0.0, 0.01, (4, 3)).astype(np.float32)
    inputs = keras.Input((2, 2, 1))
    scaled = keras.layers.Rescaling(1 / 128, -1)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(scaled))
    ways = RobustTraining(teacher=flat(matrix), attack=Attack(8.0, 2)).losses()
    training = SmallTraining(model, learning_rate=0.1, batch_size=64, loss=ways["logits"])
    training.run(images, np.zeros(256, int), epochs=60)
    x = images.astype(np.float32)
    np.testing.assert_allclose(training.model(x), flat(matrix)(x), atol=0.02)
    assert ccat.share_of_label(np.zeros((1, 2, 2, 1)), epsilon=8.0, rho=1.0).numpy() == [1.0]
