"""One training step against the same step written out in eager TensorFlow and NumPy."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import (
    batch,
    feed,
    linear_teacher,
    make_state,
    objective_of,
    randomize,
    sgd,
    student,
    teacher,
    trainer,
    values,
)

from std_keras import models
from std_keras.training import optimizers

ONE = tf.distribute.get_strategy()


def one_step(state, some_batch, **options):
    """Runs one step; returns its figures."""
    made = trainer(state, batch_size=len(some_batch["targets"]), **options)
    result = made.call(feed(ONE, [some_batch]), first_step=0, steps=1)
    assert result.steps == 1 and result.finite
    return result.last


# The written-out step


def reference_step(state, some_batch, teachers, objective, *, mine_weight, clip, l2):
    """Gradients with respect to the student and the critics, and some figures."""
    images = tf.constant(some_batch["images"], tf.float32)
    targets = tf.constant(some_batch["targets"])
    teacher_logits = [t.logits(images).numpy() for t in teachers]
    log_p = [np.array(tf.nn.log_softmax(logits)) for logits in teacher_logits]
    sureness = np.stack([(np.exp(p) * p).sum(-1) for p in log_p])
    if objective.confidence_scope == "batch":
        sureness = np.repeat(sureness.sum(1, keepdims=True), len(targets), axis=1)
    weights = np.exp(sureness) / np.exp(sureness).sum(0)
    tau = objective.temperature
    with tf.GradientTape(persistent=True) as tape:
        outputs = state.outputs(images, training=True)
        logits = outputs["classification"]
        class_loss = -tf.reduce_sum(targets * tf.nn.log_softmax(logits), -1)
        loss = class_loss
        if teachers:
            together = 0.0
            for index, heads in enumerate(objective.teacher_heads):
                for head in heads:
                    if objective.kind == "hard":
                        picked = tf.one_hot(teacher_logits[index].argmax(-1), 10)
                        own = -tf.reduce_sum(picked * tf.nn.log_softmax(outputs[head]), -1)
                    else:
                        p = tf.nn.softmax(teacher_logits[index] / tau)
                        ratio = tf.math.log(p) - tf.nn.log_softmax(outputs[head] / tau)
                        own = tau**2 * tf.reduce_sum(p * ratio, -1)
                    together += weights[index] * own / len(heads)
            loss = (1 - objective.alpha) * class_loss + objective.alpha * together
        total = tf.reduce_mean(loss)
        bounds = []
        for name, critic in zip(state.token_sets, state.critics, strict=True):
            spatial, channel = outputs[name]["spatial"], outputs[name]["channel"]
            swapped = tf.reshape(channel, (-1, 2, channel.shape[1]))[:, ::-1]
            marginal = critic(spatial, tf.reshape(swapped, channel.shape))
            mean_exp = tf.reduce_mean(tf.exp(marginal))
            bounds.append(tf.reduce_mean(critic(spatial, channel)) - tf.math.log(mean_exp))
        information = tf.add_n(bounds) / len(bounds) if bounds else tf.constant(0.0)
        total += mine_weight * information
    variables = state.model.trainable_variables
    gradients = [
        np.zeros(v.shape) if g is None else g.numpy().astype(np.float64)
        for v, g in zip(variables, tape.gradient(total, variables), strict=True)
    ]
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    if clip:
        gradients = [g * min(1.0, clip / norm) for g in gradients]
    if l2:
        gradients = [
            g + l2 * v.numpy() if optimizers.decays(v) else g
            for g, v in zip(gradients, variables, strict=True)
        ]
    ascent = tape.gradient(information, state.critic_variables)
    figures = {
        "loss/total": float(tf.reduce_mean(loss)),
        "loss/classification": float(tf.reduce_mean(class_loss)),
        "norm/gradient": norm,
    }
    for name, value in zip(state.token_sets, bounds, strict=True):
        figures[f"mine/{name}"] = float(value)
    return gradients, [g.numpy() for g in ascent], figures


CASES = {
    "baseline": {"sites": None},
    "baseline with L2": {"sites": None, "l2": 0.05},
    "hard, MINE, clipped, L2": {
        "sites": ["both", "last"],
        "mine_weight": 0.3,
        "clip": 0.5,
        "l2": 0.05,
        "kind": "hard",
        "alpha": 0.7,
    },
    "soft, batch weights": {
        "sites": ["last", "intermediate"],
        "kind": "soft",
        "temperature": 3.0,
        "alpha": 0.4,
        "confidence_scope": "batch",
    },
}


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_the_written_out_step(name):
    case = dict(CASES[name])
    sites = case.pop("sites")
    mine_weight, clip, l2 = (case.pop(k, 0.0) for k in ("mine_weight", "clip", "l2"))
    if sites is None:
        keras.utils.set_random_seed(0)
        model = models.create(
            "mixer_s16", input_shape=(8, 8, 1), num_classes=10, patch_size=4, width=16, depth=2
        )
        teachers = []
    else:
        model = student(sites)
        teachers = [linear_teacher(i, scale=0.5) for i in range(len(sites))]
    state = make_state(randomize(model), critics=bool(mine_weight))
    objective = objective_of(model, len(teachers), **case)
    some = batch(8)
    gradients, ascent, figures = reference_step(
        state, some, teachers, objective, mine_weight=mine_weight, clip=clip, l2=l2
    )
    if clip:
        assert figures["norm/gradient"] > clip, "the case must clip"
    before, critics_before = values(model.trainable_variables), values(state.critic_variables)
    got = one_step(
        state,
        some,
        teachers=teachers,
        objective=objective,
        mine_weight=mine_weight,
        clip_norm=clip,
        l2=l2,
    )
    for value, old, gradient in zip(model.trainable_variables, before, gradients, strict=True):
        np.testing.assert_allclose(
            value.numpy(), old - gradient, rtol=1e-4, atol=2e-5, err_msg=value.path
        )
    for value, old, gradient in zip(state.critic_variables, critics_before, ascent, strict=True):
        np.testing.assert_allclose(
            value.numpy(), old + gradient, rtol=1e-4, atol=2e-5, err_msg=value.path
        )
    for key, value in figures.items():
        assert got[key] == pytest.approx(value, rel=1e-4, abs=1e-5), key


def test_totals_are_sums_over_the_steps_of_a_call():
    batches = [batch(8, seed=i) for i in range(4)]
    state = make_state(randomize(student()), optimizer=sgd(0.05))
    twin = make_state(randomize(student()), optimizer=sgd(0.05))
    options = {"teachers": [linear_teacher(0)], "batch_size": 8}
    one, many = trainer(state, **options), trainer(twin, **options)
    feed_one, feed_many = feed(ONE, batches), feed(ONE, batches)
    each = [one.call(feed_one, first_step=i, steps=1) for i in range(4)]
    result = many.call(feed_many, first_step=0, steps=4)
    assert result.steps == 4
    assert result.last == pytest.approx(each[-1].last, rel=1e-5, abs=1e-6)
    for name, total in result.totals.items():
        assert total == pytest.approx(sum(e.totals[name] for e in each), rel=1e-5, abs=1e-6)
    for a, b in zip(values(state.model.variables), values(twin.model.variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_average_moves_after_every_step_of_a_call():
    state = make_state(randomize(student()), optimizer=sgd(0.1), ema=0.9)
    twin = make_state(randomize(student()), optimizer=sgd(0.1))
    batches = [batch(8, seed=i) for i in range(3)]
    options = {"teachers": [linear_teacher(0)], "batch_size": 8}
    trainer(state, **options).call(feed(ONE, batches), first_step=0, steps=3)
    stepping, source = trainer(twin, **options), feed(ONE, batches)
    expected = None
    for done in range(3):
        stepping.call(source, first_step=done, steps=1)
        now, keep = values(twin.model.trainable_variables), min(0.9, done / (done + 9))
        expected = now if expected is None else [
            keep * e + (1 - keep) * n for e, n in zip(expected, now, strict=True)
        ]
    with state.average.in_place():
        got = values(state.model.trainable_variables)
    for own, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)


# Accumulation, XLA, bfloat16


@pytest.mark.parametrize("pieces", [2, 4])
@pytest.mark.parametrize("scope", ["example", "batch"])
def test_accumulation_gives_the_step_of_the_whole_batch(pieces, scope):
    some = batch(8)
    results, weights = [], []
    for steps in (1, pieces):
        model = randomize(student(["last", "intermediate"]))
        state = make_state(model)
        teachers = [linear_teacher(0, scale=0.5), linear_teacher(1, scale=0.3)]
        objective = objective_of(model, 2, confidence_scope=scope)
        results.append(
            one_step(
                state,
                some,
                teachers=teachers,
                objective=objective,
                clip_norm=0.5,
                accumulation_steps=steps,
            )
        )
        weights.append(values(model.trainable_variables))
    assert results[1] == pytest.approx(results[0], rel=1e-4, abs=1e-5)
    for whole, accumulated in zip(*weights, strict=True):
        np.testing.assert_allclose(accumulated, whole, rtol=1e-4, atol=2e-6)


def test_accumulation_estimates_the_information_part_by_part():
    """The bound is not a mean over examples; that of a batch in parts is the mean of theirs."""
    some = batch(8)
    teachers = [linear_teacher(0)]
    halves = [{k: v[i : i + 4] for k, v in some.items()} for i in (0, 4)]
    expected = []
    for half in halves:
        state = make_state(randomize(student()), critics=True)
        expected.append(one_step(state, half, teachers=teachers, mine_weight=0.1))
    state = make_state(randomize(student()), critics=True)
    got = one_step(state, some, teachers=teachers, mine_weight=0.1, accumulation_steps=2)
    name = "mine/tokens_0_last"
    assert got[name] == pytest.approx(np.mean([e[name] for e in expected]), rel=1e-4)


@pytest.mark.parametrize("pieces", [1, 2])
def test_xla_gives_the_same_steps(pieces):
    batches = [batch(8, seed=i) for i in range(2)]
    finals, figures = [], []
    for compiled in (False, True):
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True)
        state = make_state(
            randomize(student(["both"])), critics=True, ema=0.9, optimizer=optimizer
        )
        made = trainer(
            state,
            teachers=[linear_teacher(0)],
            batch_size=8,
            mine_weight=0.1,
            clip_norm=1.0,
            accumulation_steps=pieces,
            jit_compile=compiled,
        )
        figures.append(made.call(feed(ONE, batches), first_step=0, steps=2).totals)
        finals.append(values([*state.model.variables, *state.critic_variables]))
    assert figures[1] == pytest.approx(figures[0], rel=1e-4, abs=1e-5)
    for plain, compiled in zip(*finals, strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-5)


def test_bfloat16_stays_close_and_keeps_float32_weights():
    figures = []
    before = keras.config.dtype_policy()
    try:
        for policy in ("float32", "mixed_bfloat16"):
            keras.config.set_dtype_policy(policy)
            state = make_state(randomize(student(["both"])), critics=True, optimizer=sgd(0.1))
            made = trainer(
                state, teachers=[linear_teacher(0)], batch_size=16, mine_weight=0.1
            )
            batches = [batch(16, seed=i) for i in range(3)]
            figures.append(made.call(feed(ONE, batches), first_step=0, steps=3).last)
            assert {str(v.dtype) for v in state.model.trainable_variables} == {"float32"}
    finally:
        keras.config.set_dtype_policy(before)
    assert state.model.get_layer("block_0").compute_dtype == "bfloat16"
    for name in ("loss/total", "loss/classification", "loss/distillation", "norm/gradient"):
        assert figures[1][name] == pytest.approx(figures[0][name], rel=0.05), name
    assert figures[1]["mine/tokens_0_last"] == pytest.approx(
        figures[0]["mine/tokens_0_last"], abs=0.05
    )
    assert figures[1] != figures[0], "the second run must have computed in bfloat16"


# Every weight gets a gradient


def without_gradient(state, *, steps=1, **options):
    """Paths of weights that no step has moved."""
    variables = [*state.model.trainable_variables, *state.critic_variables]
    before = values(variables)
    batches = [batch(16, seed=i) for i in range(steps)]
    trainer(state, batch_size=16, **options).call(feed(ONE, batches), first_step=0, steps=steps)
    return {
        v.path for v, old in zip(variables, before, strict=True) if np.array_equal(v.numpy(), old)
    }


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize(
    ("tokens", "sites"),
    [
        ("both", ["both", "last"]),
        ("spatial", ["last"]),
        ("channel", ["intermediate"]),
        ("none", ["last"]),
        ("deit", ["last"]),
    ],
)
def test_every_weight_of_a_new_student_gets_a_gradient(tokens, sites, kind):
    """Also of the backbone: its class head starts at zero, but the teachers' heads do not.

    One exception. With tokens="intermediate" alone, what follows that site gets its gradient
    from the class head only, whose kernel is zero at the first step: it moves from the second on.
    """
    steps = 2 if sites == ["intermediate"] else 1
    state = make_state(student(sites, tokens=tokens))
    teachers = [linear_teacher(i, scale=0.5) for i in range(len(sites))]
    objective = objective_of(state.model, len(sites), kind=kind)
    missing = without_gradient(state, teachers=teachers, objective=objective, steps=steps)
    assert missing == set()


def test_the_zero_class_head_of_a_mixer_blocks_the_first_gradient_of_its_backbone():
    def new():
        keras.utils.set_random_seed(0)
        return make_state(
            models.create(
                "mixer_s16", input_shape=(8, 8, 1), num_classes=10, patch_size=4, width=16, depth=2
            )
        )

    state = new()
    everything = {v.path for v in state.model.trainable_variables}
    missing = without_gradient(state)
    assert everything - missing == {"classification/kernel", "classification/bias"}
    assert without_gradient(new(), steps=2) == set()


def test_every_weight_of_a_resnet_gets_a_gradient():
    keras.utils.set_random_seed(0)
    model = models.create("cifar_resnet20", depth=8, input_shape=(8, 8, 1), num_classes=10)
    assert without_gradient(make_state(model)) == set()


def test_every_weight_of_the_critics_gets_a_gradient():
    """The last bias shifts all scores, which leaves the bound as it is: its gradient is zero as
    long as the batch's mean stands in the denominator (the first step, or no bias correction).
    From the second step on the moving average stands there, and the bias moves.
    """
    options = {"teachers": [linear_teacher(0)], "mine_weight": 0.1, "steps": 3}
    assert without_gradient(make_state(student(["both"]), critics=True), **options) == set()

    state = make_state(student(["both"]), critics=True)
    biases = [critic.score.bias for critic in state.critics]
    variables = [v for v in state.critic_variables if not any(v is b for b in biases)]
    before, others = values(biases), values(variables)
    made = trainer(
        state, teachers=options["teachers"], mine_weight=0.1, batch_size=16,
        mine_bias_correction=False,
    )
    made.call(feed(ONE, [batch(16)]), first_step=0, steps=1)
    np.testing.assert_allclose(values(biases), before, atol=1e-6)
    for variable, old in zip(variables, others, strict=True):
        assert np.abs(variable.numpy() - old).max() > 1e-6, variable.path


# Figures that are not finite


def test_a_teacher_that_returns_nan_stops_the_call_and_is_named():
    state = make_state(student())
    broken = teacher(lambda images: tf.fill((tf.shape(images)[0], 10), float("nan")))
    objective = objective_of(state.model, 1, kind="soft")
    made = trainer(state, teachers=[broken], objective=objective, batch_size=8)
    result = made.call(feed(ONE, [batch(8)] * 5), first_step=0, steps=5)
    assert not result.finite
    assert result.steps == 1
    bad = {name for name, value in result.last.items() if not np.isfinite(value)}
    assert {"loss/total", "loss/distillation", "loss/distillation_0"} <= bad
    assert "loss/classification" not in bad


def test_a_call_stops_at_the_first_step_that_is_not_finite():
    batches = [batch(8, seed=i) for i in range(5)]
    batches[2]["targets"][3, 1] = np.inf
    state = make_state(student(), optimizer=sgd(0.01))
    made = trainer(state, teachers=[linear_teacher(0)], batch_size=8)
    result = made.call(feed(ONE, batches), first_step=0, steps=5)
    assert result.steps == 3
    assert not result.finite
    assert not np.isfinite(result.last["loss/classification"])
    assert np.isfinite(result.last["loss/distillation"])


def test_gradients_that_overflow_are_not_finite_although_the_loss_is():
    state = make_state(randomize(student()), optimizer=sgd(0.0))
    head = state.model.get_layer("classification").kernel
    head.assign(np.random.default_rng(0).normal(size=head.shape) * 1e38)
    made = trainer(state, teachers=[linear_teacher(0)], batch_size=8, clip_norm=1.0)
    result = made.call(feed(ONE, [batch(8)]), first_step=0, steps=1)
    assert not result.finite
    assert not np.isfinite(result.last["norm/gradient"])


def test_a_call_needs_no_new_trace_for_another_number_of_steps():
    state = make_state(student(), optimizer=sgd(0.01))
    made = trainer(state, teachers=[linear_teacher(0)], batch_size=8)
    source = feed(ONE, [batch(8)] * 6)
    for first, steps in ((0, 1), (1, 2), (3, 3)):
        assert made.call(source, first_step=first, steps=steps).steps == steps
    assert made._many.experimental_get_tracing_count() == 1
    assert dataclasses.is_dataclass(made)
