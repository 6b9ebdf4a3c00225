"""One training step against the same step written out in eager TensorFlow and NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras import models
from std_keras.training import optimizers
from tests.training.tiny import (
    batch,
    feed,
    linear_teacher,
    make_state,
    randomize,
    sgd,
    student,
    task_of,
    teacher,
    trainer,
    values,
)

ONE = tf.distribute.get_strategy()


def run(state, batches, *, calls=1, **options):
    """All batches in calls of equal length; the results of the calls."""
    made = trainer(state, batch_size=len(batches[0]["targets"]), **options)
    source, steps = feed(ONE, batches), len(batches) // calls
    return [made.call(source, first_step=i * steps, steps=steps) for i in range(calls)]


def baseline(name="mixer_s16", **options):
    keras.utils.set_random_seed(0)
    options = options or {"patch_size": 4, "width": 16, "depth": 2}
    return models.create(name, input_shape=(8, 8, 1), num_classes=10, **options)


# The written-out step


def reference_step(state, some_batch, teachers, task, *, mine_weight, clip, l2):
    """Gradients with respect to the student and the critics, and some figures."""
    images = tf.constant(some_batch["images"], tf.float32)
    targets = tf.constant(some_batch["targets"])
    teacher_logits = [t.logits(images).numpy() for t in teachers]
    log_p = np.array(tf.nn.log_softmax(np.reshape(teacher_logits, (-1, len(targets), 10))))
    sureness = (np.exp(log_p) * log_p).sum(-1)
    if task.confidence_scope == "batch":
        sureness = np.repeat(sureness.sum(1, keepdims=True), len(targets), axis=1)
    weights = np.exp(sureness) / np.exp(sureness).sum(0)
    tau = task.temperature
    with tf.GradientTape(persistent=True) as tape:
        outputs = state.outputs(images, training=True)
        logits = outputs["classification"]
        class_loss = -tf.reduce_sum(targets * tf.nn.log_softmax(logits), -1)
        loss = class_loss
        if teachers:
            together = 0.0
            for index, heads in enumerate(task.teacher_heads):
                for head in heads:
                    if task.kind == "hard":
                        picked = tf.one_hot(teacher_logits[index].argmax(-1), 10)
                        own = -tf.reduce_sum(picked * tf.nn.log_softmax(outputs[head]), -1)
                    else:
                        p = tf.nn.softmax(teacher_logits[index] / tau)
                        ratio = tf.math.log(p) - tf.nn.log_softmax(outputs[head] / tau)
                        own = tau**2 * tf.reduce_sum(p * ratio, -1)
                    together += weights[index] * own / len(heads)
            loss = (1 - task.alpha) * class_loss + task.alpha * together
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
    "baseline, L2": {"sites": None, "l2": 0.05},
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
    model = student(sites) if sites else baseline()
    teachers = [linear_teacher(i, scale=0.5) for i in range(len(sites or ()))]
    state = make_state(randomize(model), critics=bool(mine_weight))
    task = task_of(model, len(teachers), **case)
    some = batch(8)
    gradients, ascent, figures = reference_step(
        state, some, teachers, task, mine_weight=mine_weight, clip=clip, l2=l2
    )
    if clip:
        assert figures["norm/gradient"] > clip, "the case must clip"
    before, critics_before = values(model.trainable_variables), values(state.critic_variables)
    options = {"mine_weight": mine_weight, "clip_norm": clip, "l2": l2}
    (result,) = run(state, [some], teachers=teachers, task=task, **options)
    for value, old, gradient in zip(model.trainable_variables, before, gradients, strict=True):
        np.testing.assert_allclose(
            value.numpy(), old - gradient, rtol=1e-4, atol=2e-5, err_msg=value.path
        )
    for value, old, gradient in zip(state.critic_variables, critics_before, ascent, strict=True):
        np.testing.assert_allclose(
            value.numpy(), old + gradient, rtol=1e-4, atol=2e-5, err_msg=value.path
        )
    for key, value in figures.items():
        assert result.last[key] == pytest.approx(value, rel=1e-4, abs=1e-5), key


def test_a_call_of_several_steps_is_as_many_calls_of_one():
    """Weights, figures and the moving average; and one trace does for all lengths of a call."""
    batches = [batch(8, seed=i) for i in range(4)]
    state = make_state(randomize(student(depth=1)), optimizer=sgd(0.05), ema=0.9)
    made = trainer(state, teachers=[linear_teacher(0)], batch_size=8)
    start = values(state.model.variables)
    source, each, expected = feed(ONE, batches), [], None
    for done in range(4):
        each.append(made.call(source, first_step=done, steps=1))
        now, keep = values(state.model.variables), min(0.9, done / (done + 9))
        moved = [keep * e + (1 - keep) * n for e, n in zip(expected or now, now, strict=True)]
        expected = moved
    final = values(state.model.variables)

    for variable, value in zip(state.model.variables, start, strict=True):
        variable.assign(value)
    result = made.call(feed(ONE, batches), first_step=0, steps=4)
    assert made._one.experimental_get_tracing_count() == 1
    assert result.steps == 4
    assert result.last == each[-1].last
    for name, total in result.totals.items():
        assert total == pytest.approx(sum(e.totals[name] for e in each), rel=1e-5, abs=1e-6)
    for own, other in zip(values(state.model.variables), final, strict=True):
        np.testing.assert_array_equal(own, other)
    with state.average.in_place():
        averages = values(state.model.variables)
    for own, other in zip(averages, expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)


# Accumulation, XLA, bfloat16


def accumulated(pieces):
    model = randomize(student(["last", "last"], depth=1))
    state = make_state(model)
    teachers = [linear_teacher(0, scale=0.5), linear_teacher(1, scale=0.3)]
    task = task_of(model, 2, confidence_scope="batch")
    options = {"clip_norm": 0.5, "accumulation_steps": pieces}
    (result,) = run(state, [batch(8)], teachers=teachers, task=task, **options)
    return result.last, values(model.trainable_variables)


@pytest.fixture(scope="module")
def whole_batch():
    return accumulated(1)


@pytest.mark.parametrize("pieces", [2, 4])
def test_accumulation_gives_the_step_of_the_whole_batch(whole_batch, pieces):
    figures, weights = accumulated(pieces)
    assert figures == pytest.approx(whole_batch[0], rel=1e-4, abs=1e-5)
    for own, other in zip(weights, whole_batch[1], strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=2e-6)


def test_accumulation_estimates_the_information_part_by_part():
    """The bound is not a mean over examples; that of a batch in parts is the mean of theirs."""
    some = batch(8)
    halves = [{k: v[i : i + 4] for k, v in some.items()} for i in (0, 4)]
    figures = []
    for batches, pieces in ((halves, 1), ([some], 2)):
        state = make_state(
            randomize(student(depth=1)),
            optimizer=sgd(0.0),
            critics=True,
            critic_optimizer=sgd(0.0),
        )
        options = {"mine_weight": 0.1, "accumulation_steps": pieces}
        calls = run(state, batches, calls=len(batches), teachers=[linear_teacher(0)], **options)
        figures.append([call.last["mine/tokens_0_last"] for call in calls])
    first, second = figures[0]
    assert first != pytest.approx(second, rel=0.01)
    assert figures[1] == pytest.approx([(first + second) / 2], rel=1e-4)


def test_a_step_that_was_made_ready_is_the_same_step():
    """To the bit, and nothing was trained, traced again or taken from the data by it."""
    some, made = [batch(8, seed=1), batch(8, seed=2)], []
    for ready in (False, True):
        state = make_state(randomize(student(("last",))), critics=True, ema=0.9)
        before = values(state.model.weights)
        own = trainer(state, teachers=[linear_teacher(0)], batch_size=8, mine_weight=0.1)
        source = feed(ONE, some)
        if ready:
            own.make_ready(source.element_spec)
            assert own._one.experimental_get_tracing_count() == 1
            own._ready.result()
            for old, new in zip(before, values(state.model.weights), strict=True):
                np.testing.assert_array_equal(old, new)
        result = own.call(source, first_step=0, steps=2)
        assert own._one.experimental_get_tracing_count() == 1
        made.append((values(state.model.weights), result.totals))
    (plain, plain_totals), (ready, ready_totals) = made
    assert plain_totals == ready_totals
    for one, other in zip(plain, ready, strict=True):
        np.testing.assert_array_equal(one, other)


def test_xla_gives_the_same_steps():
    finals, figures = [], []
    for compiled in (False, True):
        model = randomize(student(depth=1))
        state = make_state(model, critics=True, ema=0.9, optimizer=sgd(0.1))
        options = {"mine_weight": 0.1, "clip_norm": 1.0, "jit_compile": compiled}
        batches = [batch(8, seed=i) for i in range(2)]
        (result,) = run(state, batches, teachers=[linear_teacher(0)], **options)
        figures.append(result.totals)
        finals.append(values([*state.model.variables, *state.critic_variables]))
    assert figures[1] == pytest.approx(figures[0], rel=1e-4, abs=1e-5)
    for plain, compiled in zip(*finals, strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-5)


def test_bfloat16_stays_close_and_keeps_float32_weights(eagerly):
    figures = []
    before = keras.config.dtype_policy()
    try:
        for policy in ("float32", "mixed_bfloat16"):
            keras.config.set_dtype_policy(policy)
            state = make_state(
                randomize(student()),
                critics=True,
                optimizer=sgd(0.1),
                critic_optimizer=sgd(1e-3),
            )
            batches = [batch(16, seed=i) for i in range(3)]
            (result,) = run(state, batches, teachers=[linear_teacher(0)], mine_weight=0.1)
            figures.append(result.last)
            assert {str(v.dtype) for v in state.model.trainable_variables} == {"float32"}
    finally:
        keras.config.set_dtype_policy(before)
    assert state.model.get_layer("block_0").compute_dtype == "bfloat16"
    for name in ("loss/total", "loss/classification", "loss/distillation", "norm/gradient"):
        assert figures[1][name] == pytest.approx(figures[0][name], rel=0.05), name
    name = "mine/tokens_0_last"
    assert figures[1][name] == pytest.approx(figures[0][name], abs=0.05)
    assert figures[1] != figures[0], "the second run must have computed in bfloat16"


# Every weight gets a gradient


def without_gradient(state, *, steps=1, **options):
    """Paths of the weights that no step has moved."""
    variables = [*state.model.trainable_variables, *state.critic_variables]
    before = values(variables)
    run(state, [batch(16, seed=i) for i in range(steps)], **options)
    return {
        v.path for v, old in zip(variables, before, strict=True) if np.array_equal(v.numpy(), old)
    }


def of_layers(model, *names):
    return {v.path for name in names for v in model.get_layer(name).trainable_variables}


# What only the class head reads. Its kernel is zero in a new Mixer, so that nothing passes it in
# the first step. The intermediate site of two blocks is the first block.
BEHIND_THE_CLASS_HEAD = {
    "both": ["final_norm"],
    "spatial": ["final_norm"],
    "channel": ["block_1", "final_norm"],
    "none": [],
    "deit": [],
}


@pytest.mark.parametrize(
    ("tokens", "sites", "kind"),
    [
        ("both", ["both", "last"], "hard"),
        ("both", ["both", "last"], "soft"),
        ("spatial", ["last"], "hard"),
        ("channel", ["intermediate"], "soft"),
        ("none", ["last"], "hard"),
        ("deit", ["last"], "soft"),
    ],
)
def test_every_weight_of_a_new_student_gets_a_gradient(eagerly, tokens, sites, kind):
    teachers = [linear_teacher(i, scale=0.5) for i in range(len(sites))]
    for steps in (1, 2):
        state = make_state(student(sites, tokens=tokens))
        task = task_of(state.model, len(sites), kind=kind)
        missing = without_gradient(state, teachers=teachers, task=task, steps=steps)
        blocked = of_layers(state.model, *BEHIND_THE_CLASS_HEAD[tokens])
        assert missing == (blocked if steps == 1 else set())


def test_the_zero_class_head_of_a_mixer_blocks_the_first_gradient_of_its_backbone(eagerly):
    state = make_state(baseline())
    everything = {v.path for v in state.model.trainable_variables}
    assert everything - without_gradient(state) == of_layers(state.model, "classification")
    assert without_gradient(make_state(baseline()), steps=2) == set()


def test_every_weight_of_a_resnet_gets_a_gradient(eagerly):
    assert without_gradient(make_state(baseline("cifar_resnet20", depth=8))) == set()


def test_every_weight_of_the_critics_gets_a_gradient(eagerly):
    """The last bias shifts all scores, which leaves the bound as it is: its gradient is zero as
    long as the batch's mean stands in the denominator (the first step, or no bias correction).
    From the second step on the moving average stands there, and the bias moves.
    """
    options = {"teachers": [linear_teacher(0)], "mine_weight": 0.1}
    state = make_state(student(["both"]), critics=True)
    assert without_gradient(state, steps=2, **options) == set()

    state = make_state(student(["both"]), critics=True)
    before = values(state.critic_variables)
    run(state, [batch(16)] * 2, mine_bias_correction=False, **options)
    for variable, old in zip(state.critic_variables, before, strict=True):
        moved = np.abs(variable.numpy() - old).max()
        is_last_bias = any(variable is critic.score.bias for critic in state.critics)
        assert moved < 1e-6 if is_last_bias else moved > 1e-6, variable.path


# Figures that are not finite


def test_a_teacher_that_returns_nan_stops_the_call_and_is_named(eagerly):
    state = make_state(student())
    broken = teacher(lambda images: tf.fill((tf.shape(images)[0], 10), float("nan")))
    task = task_of(state.model, 1, kind="soft")
    (result,) = run(state, [batch(8)] * 5, teachers=[broken], task=task)
    assert not result.finite
    assert result.steps == 1
    bad = {name for name, value in result.last.items() if not np.isfinite(value)}
    assert {"loss/total", "loss/distillation", "loss/distillation_0"} <= bad
    assert "loss/classification" not in bad


@pytest.mark.parametrize("looks_ahead", [False, True])
def test_a_call_ends_with_the_first_step_that_is_not_finite(looks_ahead):
    """As a GPU takes them, too: there the steps that follow are under way already."""
    batches = [batch(8, seed=i) for i in range(5)]
    batches[2]["targets"][3, 1] = np.inf
    state = make_state(student(depth=1), optimizer=sgd(0.01))
    made = trainer(state, batch_size=8, teachers=[linear_teacher(0)])
    made.looks_ahead = looks_ahead
    left = feed(ONE, batches)
    result = made.call(left, first_step=0, steps=5)
    assert result.steps == 3
    assert len(list(left)) == (0 if looks_ahead else 2)
    assert not result.finite
    assert not np.isfinite(result.totals["loss/classification"])
    assert not np.isfinite(result.last["loss/classification"])
    assert np.isfinite(result.last["loss/distillation"])


def test_gradients_that_overflow_are_not_finite_although_the_loss_is(eagerly):
    state = make_state(randomize(baseline()), optimizer=sgd(0.0))
    head = state.model.get_layer("classification").kernel
    head.assign(np.random.default_rng(0).normal(size=head.shape) * 1e37)
    (result,) = run(state, [batch(8)], clip_norm=1.0)
    assert np.isfinite(result.last["loss/total"])
    assert not np.isfinite(result.last["norm/gradient"])
    assert not result.finite
