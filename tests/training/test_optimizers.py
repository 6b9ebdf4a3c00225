"""Schedules and optimizers against closed forms, NumPy and PyTorch."""

from __future__ import annotations

import math
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras import models
from std_keras.config.optimization import OptimizationOptions
from std_keras.errors import InputError
from std_keras.training import optimizers
from std_keras.training.adamw import AdamW
from tests.training.tiny import student

# Learning rate over time


def closed_form(step, *, peak, floor, warmup, total):
    if step < warmup:
        return peak * step / warmup
    part = min(1.0, (step - warmup) / max(1, total - warmup))
    return floor + (peak - floor) * 0.5 * (1.0 + math.cos(math.pi * part))


@pytest.mark.parametrize("warmup", [0, 1, 10, 99])
@pytest.mark.parametrize("floor", [0.0, 1e-5, 0.3])
def test_schedule_is_warm_up_and_cosine(warmup, floor):
    peak, total = 0.3, 100
    schedule = optimizers.learning_rate_schedule(
        peak=peak, floor=floor, warmup_steps=warmup, total_steps=total
    )
    got = [float(schedule(step)) for step in range(total + 20)]
    expected = [
        closed_form(step, peak=peak, floor=floor, warmup=warmup, total=total)
        for step in range(total + 20)
    ]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("warmup", "step", "expected"), [(10, 0, 0.0), (10, 5, 0.5), (10, 10, 1.0), (0, 0, 1.0)]
)
def test_schedule_at_its_corners(warmup, step, expected):
    schedule = optimizers.learning_rate_schedule(
        peak=1.0, floor=0.1, warmup_steps=warmup, total_steps=100
    )
    assert float(schedule(step)) == pytest.approx(expected)
    assert float(schedule(100)) == pytest.approx(0.1)


# What decays


def test_kernels_of_a_student_decay_and_nothing_else():
    decaying, left = set(), set()
    for variable in student(["both"]).trainable_variables:
        (decaying if optimizers.decays(variable) else left).add(variable.name)
    assert decaying == {"kernel"}
    assert left == {"bias", "gamma", "beta", "spatial_token", "channel_token"}


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("deit_ti16", {}, {"token", "position_embedding"}),
        ("swin_t", {"window_size": 4, "patch_size": 1}, {"relative_position_bias"}),
    ],
)
def test_what_transformers_add_does_not_decay(name, options, expected):
    model = models.create(name, input_shape=(16, 16, 3), num_classes=3, **options)
    decaying = {v.name for v in model.trainable_variables if optimizers.decays(v)}
    left = {v.name for v in model.trainable_variables if not optimizers.decays(v)}
    assert decaying == {"kernel"}
    assert left == {"bias", "gamma", "beta", *expected}


def test_the_token_of_deit_does_not_decay():
    token = student(["last"], tokens="deit").get_layer("distillation_token").token
    assert not optimizers.decays(token)


def test_kernels_of_a_resnet_decay_and_nothing_else():
    model = models.create("cifar_resnet20", depth=8, input_shape=(8, 8, 1), num_classes=10)
    for variable in model.trainable_variables:
        assert optimizers.decays(variable) == (variable.name == "kernel"), variable.path


# Steps. A matrix decays, a vector does not; the gradients change from step to step.


def variables_of(start):
    return [
        keras.Variable(start["matrix"], dtype="float32", name="kernel"),
        keras.Variable(start["vector"], dtype="float32", name="bias"),
    ]


@pytest.fixture
def problem():
    rng = np.random.default_rng(5)
    start = {"matrix": rng.normal(size=(3, 4)), "vector": rng.normal(size=(4,))}
    gradients = [[rng.normal(size=v.shape) for v in start.values()] for _ in range(7)]
    return start, gradients


def ours(name, start, gradients, *, rates, decay, l2=0.0):
    """The variables after all steps; step i has the learning rate rates[i]."""

    class Listed(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return tf.gather(tf.constant(rates, tf.float32), tf.cast(step, tf.int32))

        def get_config(self):
            return {}

    variables = variables_of(start)
    optimizer = optimizers.create_optimizer(
        OptimizationOptions(optimizer=name, weight_decay=decay, momentum=0.9),
        learning_rate=Listed(),
        variables=variables,
    )
    for step in gradients:
        tensors = [tf.constant(g, tf.float32) for g in step]
        if l2:
            tensors = optimizers.add_l2(tensors, variables, l2)
        optimizer.apply(tensors, variables)
    return [v.numpy() for v in variables]


def in_torch(make, start, gradients, *, rates):
    torch = pytest.importorskip("torch")
    parameters = [torch.nn.Parameter(torch.tensor(v)) for v in start.values()]
    optimizer = make(torch, parameters)
    for rate, step in zip(rates, gradients, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = torch.tensor(gradient)
        optimizer.step()
    return [p.detach().numpy() for p in parameters]


RATES = [0.0, 0.05, 0.1, 0.09, 0.06, 0.02, 0.01]


def test_adamw_is_numpy_with_decoupled_decay(problem):
    start, gradients = problem
    expected = []
    for index, (value, decay) in enumerate(zip(start.values(), (0.1, 0.0), strict=True)):
        mean, square = np.zeros_like(value), np.zeros_like(value)
        for t, (rate, step) in enumerate(zip(RATES, gradients, strict=True), start=1):
            value = value - rate * decay * value
            mean = 0.9 * mean + 0.1 * step[index]
            square = 0.999 * square + 0.001 * step[index] ** 2
            corrected = mean / (1 - 0.9**t)
            value = value - rate * corrected / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
        expected.append(value)
    got = ours("adamw", start, gradients, rates=RATES, decay=0.1)
    for own, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)


def test_adamw_is_that_of_pytorch(problem):
    start, gradients = problem

    def make(torch, parameters):
        groups = [{"params": parameters[:1]}, {"params": parameters[1:], "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=1.0, weight_decay=0.1)

    got = ours("adamw", start, gradients, rates=RATES, decay=0.1)
    for own, other in zip(got, in_torch(make, start, gradients, rates=RATES), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)


def nesterov_with_l2(torch, parameters):
    groups = [{"params": parameters[:1]}, {"params": parameters[1:], "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=1.0, momentum=0.9, nesterov=True, weight_decay=0.05)


def test_sgd_is_that_of_pytorch_at_a_constant_rate(problem):
    start, gradients = problem
    rates = [0.1] * len(gradients)
    got = ours("sgd", start, gradients, rates=rates, decay=0.05, l2=0.05)
    expected = in_torch(nesterov_with_l2, start, gradients, rates=rates)
    for own, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)


def test_sgd_at_a_changing_rate_keeps_the_rate_of_each_gradient(problem):
    """Keras multiplies a gradient by the rate of its own step, PyTorch by that of each later one.

    So the two part where the rate changes much within the ten steps that the momentum remembers.
    The reference here is Sutskever et al. 2013 in NumPy.
    """
    start, gradients = problem
    expected = []
    for index, (value, decay) in enumerate(zip(start.values(), (0.05, 0.0), strict=True)):
        velocity = np.zeros_like(value)
        for rate, step in zip(RATES, gradients, strict=True):
            gradient = step[index] + decay * value
            velocity = 0.9 * velocity - rate * gradient
            value = value + 0.9 * velocity - rate * gradient
        expected.append(value)
    got = ours("sgd", start, gradients, rates=RATES, decay=0.0, l2=0.05)
    for own, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)
    theirs = in_torch(nesterov_with_l2, start, gradients, rates=RATES)
    assert np.abs(got[0] - theirs[0]).max() > 1e-3, "the docstring of this test is out of date"


def test_the_decay_of_adamw_is_not_applied_by_sgd(problem):
    start, gradients = problem
    one = ours("sgd", start, gradients, rates=RATES, decay=0.0)
    other = ours("sgd", start, gradients, rates=RATES, decay=0.5)
    np.testing.assert_array_equal(one[0], other[0])


def stepped(make, *, dtype, jit_compile):
    """All variables after eight steps in one graph, and the operations of it."""
    rng = np.random.default_rng(0)
    shapes = {"kernel": (5, 7), "bias": (7,), "second_kernel": (5, 7), "gamma": (7,)}
    variables = [keras.Variable(rng.normal(size=s), dtype, name=n) for n, s in shapes.items()]
    rates = optimizers.learning_rate_schedule(peak=1e-2, floor=1e-4, warmup_steps=3, total_steps=20)
    optimizer = make(rates, weight_decay=0.05, epsilon=1e-8)
    optimizer.exclude_from_weight_decay(var_list=[v for v in variables if not optimizers.decays(v)])
    optimizer.build(variables)
    step = tf.function(
        lambda gradients: optimizer.apply(gradients, variables),
        jit_compile=jit_compile,
        autograph=False,
    )
    for _ in range(8):
        gradients = [tf.constant(rng.normal(size=v.shape), v.dtype) for v in variables]
        step(gradients)
    graph = step.get_concrete_function(gradients).graph
    return [v.numpy() for v in (*variables, *optimizer.variables)], graph.get_operations()


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_adamw_is_keras_to_the_bit(dtype, jit_compile):
    own, operations = stepped(AdamW, dtype=dtype, jit_compile=jit_compile)
    theirs, _ = stepped(keras.optimizers.AdamW, dtype=dtype, jit_compile=jit_compile)
    for ours, other in zip(own, theirs, strict=True):
        np.testing.assert_array_equal(ours, other)
    # Rate and powers once, and one call for each variable, of a function for each shape.
    assert Counter(op.type for op in operations)["Pow"] == 2
    calls = [op for op in operations if op.type == "StatefulPartitionedCall"]
    assert len(calls) == 4
    assert len({op.get_attr("f").name for op in calls}) == 2


def test_adamw_refuses_the_variant_that_it_lacks():
    with pytest.raises(ValueError, match="amsgrad=True"):
        AdamW(0.1, amsgrad=True)


def test_unknown_optimizer():
    with pytest.raises(InputError, match="lamb"):
        OptimizationOptions(optimizer="lamb")


# Clipping


@pytest.mark.parametrize("limit", [0.1, 1.0, 1e6])
def test_clip_by_global_norm_is_numpy(limit):
    rng = np.random.default_rng(2)
    gradients = [rng.normal(size=s).astype(np.float32) for s in ((3, 4), (5,))]
    norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients))
    tensors = [tf.constant(g) for g in gradients]
    got = optimizers.clip_by_global_norm(tensors, tf.linalg.global_norm(tensors), limit)
    for own, gradient in zip(got, gradients, strict=True):
        np.testing.assert_allclose(own, gradient * min(1.0, limit / norm), rtol=1e-6)


def test_clipping_a_zero_gradient_leaves_zeros():
    got = optimizers.clip_by_global_norm([tf.zeros(3)], tf.constant(0.0), 1.0)
    np.testing.assert_array_equal(got[0], np.zeros(3))
