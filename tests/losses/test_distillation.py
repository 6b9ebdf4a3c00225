"""Losses against NumPy closed forms in float64, and their gradients against hand-written ones."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from std_keras import losses
from std_keras.errors import InputError


def log_softmax(x):
    x = np.asarray(x, np.float64)
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def softmax(x):
    return np.exp(log_softmax(x))


def entropy(logits):
    p = softmax(logits)
    return -np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0), -1)


def divergence(teacher, student, temperature):
    p, q = softmax(np.asarray(teacher) / temperature), softmax(np.asarray(student) / temperature)
    return temperature**2 * np.sum(p * np.log(p / q), -1)


def gradient(function, logits):
    logits = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = function(logits)
    return tape.gradient(value, logits).numpy()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def student(rng):
    return rng.normal(0, 2, (6, 5))


@pytest.fixture
def teacher(rng):
    return rng.normal(0, 3, (6, 5))


def test_cross_entropy_is_the_closed_form_and_its_gradient_holds_for_any_targets(rng, student):
    targets = rng.random((6, 5))  # rows do not sum to 1
    got = losses.cross_entropy(student, targets)
    np.testing.assert_allclose(got, -(targets * log_softmax(student)).sum(-1), rtol=1e-5)
    expected = softmax(student) * targets.sum(-1, keepdims=True) - targets
    np.testing.assert_allclose(
        gradient(lambda x: losses.cross_entropy(x, targets), student), expected, atol=1e-5
    )


def test_cross_entropy_of_bfloat16_logits_is_computed_in_float32(student, teacher):
    rounded = tf.cast(student, tf.bfloat16)
    got = losses.cross_entropy(rounded, softmax(teacher))
    assert got.dtype == tf.float32
    expected = -(softmax(teacher) * log_softmax(tf.cast(rounded, tf.float64).numpy())).sum(-1)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_hard_distillation_and_its_gradient(student, teacher):
    onehot = np.eye(5)[teacher.argmax(-1)]
    got = losses.hard_distillation(student, teacher)
    np.testing.assert_allclose(got, -(onehot * log_softmax(student)).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(
        gradient(lambda x: losses.hard_distillation(x, teacher), student),
        softmax(student) - onehot,
        atol=1e-6,
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_soft_distillation_and_its_gradient(student, teacher, temperature):
    got = losses.soft_distillation(student, teacher, temperature=temperature)
    np.testing.assert_allclose(got, divergence(teacher, student, temperature), rtol=2e-4)
    expected = temperature * (softmax(student / temperature) - softmax(teacher / temperature))
    np.testing.assert_allclose(
        gradient(lambda x: losses.soft_distillation(x, teacher, temperature=temperature), student),
        expected,
        atol=2e-5,
    )


def test_soft_distillation_at_temperature_one_is_cross_entropy_less_entropy(student, teacher):
    got = losses.soft_distillation(student, teacher, temperature=1.0)
    expected = losses.cross_entropy(student, softmax(teacher)) - entropy(teacher)
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_soft_distillation_at_high_temperature_matches_centred_logits(student, teacher):
    centred = (student - student.mean(-1, keepdims=True)) - (
        teacher - teacher.mean(-1, keepdims=True)
    )
    got = gradient(lambda x: losses.soft_distillation(x, teacher, temperature=1e3), student)
    np.testing.assert_allclose(got, centred / 5, atol=2e-2)


def test_soft_distillation_at_low_temperature_is_the_margin_of_the_teachers_class():
    # τ² KL → τ · (max student − student of the teacher's class) for τ → 0.
    student, teacher = [[1.0, 4.0, 0.0]], [[5.0, 1.0, 2.0]]
    got = losses.soft_distillation(student, teacher, temperature=0.01)
    np.testing.assert_allclose(got, [0.01 * 3.0], rtol=1e-5)


def test_soft_distillation_of_equal_logits_is_zero(teacher):
    got = losses.soft_distillation(teacher, teacher, temperature=3.0)
    np.testing.assert_allclose(got, np.zeros(6), atol=1e-6)


CERTAIN = {
    "clipped": np.log(np.clip([[0.0, 1.0, 0.0]], 1e-7, 1.0)),
    "huge": np.array([[-1e4, 1e4, -1e4]]),
    "infinite": np.array([[-np.inf, 0.0, -np.inf]]),
}


@pytest.mark.parametrize("name", CERTAIN)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_teacher_with_probabilities_zero_and_one(name, temperature):
    student = np.array([[0.5, -1.0, 2.0]])
    tempered = student / temperature
    expected = temperature**2 * -log_softmax(tempered)[:, 1]
    slope = temperature * (softmax(tempered) - [[0.0, 1.0, 0.0]])

    def loss(x):
        return losses.soft_distillation(x, CERTAIN[name], temperature=temperature)

    tolerance = 2e-2 if name == "clipped" else 1e-5  # clipping leaves 1e-7 (τ=2: 3e-4) of p
    np.testing.assert_allclose(loss(student), expected, rtol=tolerance)
    np.testing.assert_allclose(gradient(loss, student), slope, atol=tolerance)
    assert losses.negative_entropy(CERTAIN[name]).numpy() == pytest.approx(0.0, abs=1e-5)


def test_extreme_students_give_finite_losses_and_gradients():
    student = np.array([[1e4, -1e4, 0.0]])
    teacher = np.array([[-1e4, 1e4, 0.0]])
    got = losses.soft_distillation(student, teacher, temperature=1.0)
    np.testing.assert_allclose(got, [2e4], rtol=1e-6)
    slope = gradient(lambda x: losses.soft_distillation(x, teacher, temperature=1.0), student)
    np.testing.assert_allclose(slope, [[1.0, -1.0, 0.0]], atol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_not_positive_is_refused(student, temperature):
    with pytest.raises(InputError, match=f"temperature={temperature}"):
        losses.soft_distillation(student, student, temperature=temperature)


def test_no_gradient_reaches_the_teacher(student, teacher):
    logits = tf.constant(teacher, tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        soft = losses.soft_distillation(student, logits, temperature=2.0)
        weights = losses.confidence_weights(tf.stack([logits, -logits]))
    assert tape.gradient(soft, logits) is None
    assert tape.gradient(weights, logits) is None


def test_negative_entropy(teacher):
    np.testing.assert_allclose(losses.negative_entropy(teacher), -entropy(teacher), rtol=1e-4)
    np.testing.assert_allclose(losses.negative_entropy(np.zeros((2, 10))), [-np.log(10)] * 2, 1e-6)


SURE, UNSURE = [8.0, 0.0, 0.0, 0.0], [0.3, 0.0, 0.1, 0.0]


@pytest.mark.parametrize("confidence", losses.CONFIDENCES)
@pytest.mark.parametrize("scope", losses.SCOPES)
def test_weights_are_the_softmax_over_teachers(rng, confidence, scope):
    logits = rng.normal(0, 2, (3, 4, 5))
    sign = {"negative_entropy": -1, "entropy": 1, "uniform": 0}[confidence]
    scores = sign * entropy(logits)
    if scope == "batch":
        scores = np.repeat(scores.sum(1, keepdims=True), 4, axis=1)
    got = losses.confidence_weights(logits, confidence=confidence, scope=scope)
    np.testing.assert_allclose(got, softmax(scores.T).T, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.sum(got, 0), np.ones(4), rtol=1e-6)


@pytest.mark.parametrize(
    ("confidence", "sign"), [("negative_entropy", 1), ("entropy", -1), ("uniform", 0)]
)
def test_the_surer_teacher_weighs_more_only_by_negative_entropy(confidence, sign):
    # Example 0: teacher 0 is surer; example 1: teacher 1 is.
    logits = np.array([[SURE, UNSURE], [UNSURE, SURE]])
    first, second = losses.confidence_weights(logits, confidence=confidence).numpy()
    np.testing.assert_array_equal(np.sign(first - second), [sign, -sign])


@pytest.mark.parametrize("name", CERTAIN)
def test_weights_of_a_certain_and_a_clueless_teacher(name):
    logits = np.stack([CERTAIN[name], np.zeros((1, 3))])
    # Confidences 0 and −log 3: softmax gives 3/4 and 1/4.
    got = losses.confidence_weights(logits)
    np.testing.assert_allclose(got, [[0.75], [0.25]], atol=1e-4)


def test_batch_scope_is_near_one_hot_for_large_batches():
    logits = np.stack([np.tile(SURE, (128, 1)), np.tile(UNSURE, (128, 1))])
    by_example = losses.confidence_weights(logits, scope="example").numpy()
    by_batch = losses.confidence_weights(logits, scope="batch").numpy()
    assert 0.7 < by_example[0, 0] < 0.85
    assert by_batch.shape == (2, 128)
    np.testing.assert_allclose(by_batch[0], 1.0, atol=1e-6)


def test_batch_scope_over_two_replicas_equals_one(rng):
    logits = rng.normal(0, 0.5, (2, 8, 5))
    whole = losses.confidence_weights(logits, scope="batch").numpy()
    summed = losses.negative_entropy(logits).numpy().sum(1)
    halves = [
        losses.confidence_weights(half, scope="batch", batch_reduce=lambda sums: summed).numpy()
        for half in np.split(logits, 2, axis=1)
    ]
    np.testing.assert_allclose(np.concatenate(halves, 1), whole, rtol=1e-5)
    local = losses.confidence_weights(logits[:, :4], scope="batch").numpy()
    assert np.abs(local - whole[:, :4]).max() > 1e-3  # without the reduction it would differ


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"confidence": "max"},
            "confidence=max must be one of negative_entropy, entropy or uniform",
        ),
        ({"scope": "epoch"}, "scope=epoch must be one of example or batch"),
    ],
)
def test_unknown_confidences_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        losses.confidence_weights(np.zeros((2, 3, 4)), **options)


@pytest.mark.parametrize("kind", losses.KINDS)
def test_distillation_of_two_teachers_one_with_two_heads(rng, kind):
    heads = rng.normal(0, 2, (3, 6, 5))
    teachers = rng.normal(0, 2, (2, 6, 5))
    weights = softmax(rng.normal(size=(6, 2))).T

    def reference(head, teacher):
        if kind == "soft":
            return divergence(teacher, head, 3.0)
        return -log_softmax(head)[np.arange(6), teacher.argmax(-1)]

    expected = np.stack(
        [
            (reference(heads[0], teachers[0]) + reference(heads[1], teachers[0])) / 2,
            reference(heads[2], teachers[1]),
        ]
    )
    per_teacher, weighted = losses.distillation(
        [[heads[0], heads[1]], [heads[2]]], teachers, weights, kind=kind, temperature=3.0
    )
    np.testing.assert_allclose(per_teacher, expected, rtol=1e-4)
    np.testing.assert_allclose(weighted, (weights * expected).sum(0), rtol=1e-4)


def test_each_head_learns_from_its_own_teacher_only(rng):
    heads = [tf.Variable(rng.normal(0, 2, (4, 5)).astype(np.float32)) for _ in range(2)]
    teachers = rng.normal(0, 2, (2, 4, 5))
    weights = np.full((2, 4), 0.5)
    with tf.GradientTape(persistent=True) as tape:
        per_teacher, weighted = losses.distillation(
            [[heads[0]], [heads[1]]], teachers, weights, kind="hard"
        )
        first = per_teacher[0]
    np.testing.assert_array_equal(tf.convert_to_tensor(tape.gradient(first, heads[1])), 0.0)
    expected = 0.5 * (softmax(heads[1].numpy()) - np.eye(5)[teachers[1].argmax(-1)])
    np.testing.assert_allclose(tape.gradient(weighted, heads[1]), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("heads", "weights_shape", "kind", "message"),
    [
        (1, (2, 4), "hard", "heads for 1 teachers, teacher_logits has 2"),
        (2, (4,), "hard", "weights have shape"),
        (2, (2, 4), "firm", "kind=firm must be one of hard or soft"),
    ],
)
def test_distillation_refuses_what_does_not_fit(heads, weights_shape, kind, message):
    zeros = tf.zeros((4, 5))
    with pytest.raises(ValueError, match=message):
        losses.distillation(
            [[zeros]] * heads, tf.zeros((2, 4, 5)), tf.ones(weights_shape), kind=kind
        )


def test_distillation_refuses_a_teacher_without_head():
    with pytest.raises(ValueError, match=r"student_logits\[0\] is empty"):
        losses.distillation([[]], tf.zeros((1, 4, 5)), tf.ones((1, 4)), kind="hard")


@pytest.mark.parametrize("function", [losses.cross_entropy, losses.hard_distillation])
def test_differing_numbers_of_classes_are_refused(function):
    with pytest.raises(ValueError, match="shapes must be equal"):
        function(tf.zeros((4, 5)), tf.zeros((4, 1)))


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, 2.0), (0.25, 4.0), (1.0, 10.0)])
def test_total(alpha, expected):
    got = losses.total(tf.constant([2.0]), tf.constant([10.0]), alpha=alpha)
    np.testing.assert_allclose(got, [expected])


@pytest.mark.parametrize("alpha", [-0.1, 1.5])
def test_alpha_outside_its_range_is_refused(alpha):
    with pytest.raises(InputError, match=f"alpha={alpha}"):
        losses.total(tf.zeros(1), tf.zeros(1), alpha=alpha)


def test_agreement():
    student = [[1.0, 2.0, 0.0], [5.0, 2.0, 0.0], [0.0, 0.0, 1.0]]
    teacher = [[0.0, 9.0, 8.0], [1.0, 2.0, 0.0], [-3.0, -2.0, -1.0]]
    got = losses.agreement(student, teacher)
    assert got.dtype == tf.float32
    np.testing.assert_array_equal(got, [1.0, 0.0, 1.0])


def test_the_losses_compile_with_xla(student, teacher):
    @tf.function(jit_compile=True)
    def compiled(student, teacher):
        weights = losses.confidence_weights(teacher[tf.newaxis], scope="batch")
        return losses.distillation(
            [[student]], teacher[tf.newaxis], weights, kind="soft", temperature=2.0
        )[1]

    got = compiled(tf.constant(student, tf.float32), tf.constant(teacher, tf.float32))
    np.testing.assert_allclose(got, divergence(teacher, student, 2.0), rtol=2e-4)


# Precision


def test_float64_stays_float64_whatever_it_is_compared_with(student, teacher, rng):
    """Equality between devices is proved in float64; one cast would hide a difference."""
    targets = rng.dirichlet(np.ones(5), 6).astype(np.float32)
    heads, teachers = tf.constant(student), tf.constant(teacher[None], tf.float32)
    weights = losses.confidence_weights(tf.constant(teacher[None]))
    each, together = losses.distillation([[heads]], teachers, weights, kind="soft", temperature=2.0)
    loss = losses.total(losses.cross_entropy(heads, targets), together, alpha=0.3)
    expected = -(targets.astype(np.float64) * log_softmax(student)).sum(-1)
    followed = divergence(teacher.astype(np.float32), student, 2.0)
    assert each.dtype == together.dtype == loss.dtype == tf.float64
    np.testing.assert_allclose(loss, 0.7 * expected + 0.3 * followed, rtol=1e-13)
    hard = losses.hard_distillation(heads, tf.constant(teacher))
    np.testing.assert_allclose(
        hard, -np.take_along_axis(log_softmax(student), teacher.argmax(-1)[:, None], 1)[:, 0]
    )
    assert losses.negative_entropy(heads).dtype == tf.float64
    np.testing.assert_allclose(losses.negative_entropy(heads), -entropy(student), rtol=1e-13)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_less_than_float32_becomes_float32(student, dtype):
    logits = tf.cast(tf.constant(student), dtype)
    assert losses.cross_entropy(logits, tf.nn.softmax(logits)).dtype == tf.float32
    assert losses.soft_distillation(logits, logits, temperature=1.0).dtype == tf.float32
