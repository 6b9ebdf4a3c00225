"""Computing blocks twice changes memory and time, and no number."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras import models
from std_keras.errors import InputError
from std_keras.layers import MixerBlock, TokenSet
from std_keras.runs.run_directory import RunDirectory
from std_keras.training import build, start
from std_keras.training.rematerialize import rematerialized
from tests.training.tiny import (
    CLASSES,
    IMAGE_SHAPE,
    batch,
    config,
    feed,
    linear_teacher,
    make_state,
    randomize,
    sgd,
    student,
    trainer,
    values,
)

FAMILIES = {
    "resmlp": ("resmlp_s12", {"patch_size": 4, "width": 8, "depth": 2}),
    "deit": ("deit_ti16", {"patch_size": 4, "width": 192, "depth": 2}),
}


@pytest.fixture
def float64():
    with build.dtype_policy("float64"):
        yield


def one_gradient(outputs, variables):
    """Of a function of all outputs."""
    images = tf.constant(batch(8)["images"], tf.float64)
    with tf.GradientTape() as tape:
        parts = tf.nest.flatten(outputs(images, training=True))
        loss = tf.add_n([tf.reduce_sum(tf.sin(part)) for part in parts])
    return tape.gradient(loss, [v.value for v in variables])


def gradients(outputs, variables):
    """In two steps with random numbers of their own."""
    both = [*one_gradient(outputs, variables), *one_gradient(outputs, variables)]
    return [
        np.zeros(variable.shape) if gradient is None else gradient.numpy()
        for gradient, variable in zip(both, variables * 2, strict=True)
    ]


def assert_same(model, plain):
    """Gradients and all state, the one of random numbers included."""
    start = values(model.variables)
    expected = gradients(plain, model.trainable_variables)
    after = values(model.non_trainable_variables)
    for variable, value in zip(model.variables, start, strict=True):
        variable.assign(value)
    found = gradients(rematerialized(plain), model.trainable_variables)
    paths = [variable.path for variable in model.trainable_variables] * 2
    for own, other, path in zip(found, expected, paths, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-10, atol=1e-13, err_msg=path)
    for own, other in zip(values(model.non_trainable_variables), after, strict=True):
        np.testing.assert_array_equal(own, other)
    assert any(np.abs(g).max() > 0 for g in expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_the_same_gradients(eagerly, float64, family):
    name, options = FAMILIES[family]
    keras.utils.set_random_seed(0)
    model = models.create(
        name, input_shape=IMAGE_SHAPE, num_classes=CLASSES, stochastic_depth=0.4, **options
    )
    assert_same(randomize(model), models.training_model(model))


@pytest.mark.parametrize("propagate", [False, True])
def test_a_student_has_the_same_gradients(eagerly, float64, propagate):
    model = randomize(student(["both"], stochastic_depth=0.4, propagate_tokens=propagate))
    assert len(model.non_trainable_variables) > 0
    assert_same(model, models.training_model(model))


def test_every_block_and_token_set_is_computed_twice_and_nothing_else(eagerly, monkeypatch):
    model = student(["both"])
    outputs = rematerialized(models.training_model(model))
    calls = []
    for kind in (MixerBlock, TokenSet):
        original = kind.call

        def counted(self, *args, original=original, **kwargs):
            calls.append(self.name)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(kind, "call", counted)
    with tf.GradientTape() as tape:
        parts = tf.nest.flatten(outputs(tf.zeros((2, *IMAGE_SHAPE)), training=True))
        loss = tf.add_n([tf.reduce_sum(part) for part in parts])
    names = ["block_0", "block_1", "tokens_0_intermediate", "tokens_0_last"]
    assert sorted(calls) == names
    tape.gradient(loss, [v.value for v in model.trainable_variables])
    assert sorted(calls) == sorted(names * 2)


def test_in_a_graph_too(float64):
    model = randomize(student(stochastic_depth=0.4))
    plain = models.training_model(model)
    start, found = values(model.non_trainable_variables), []
    for outputs in (plain, rematerialized(plain)):
        for variable, value in zip(model.non_trainable_variables, start, strict=True):
            variable.assign(value)
        call = tf.function(lambda outputs=outputs: one_gradient(outputs, model.trainable_variables))
        found.append([gradient.numpy() for gradient in call() if gradient is not None])
        found.append(values(model.non_trainable_variables))
    for own, other in zip(found[2] + found[3], found[0] + found[1], strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-10, atol=1e-13)
    assert not np.array_equal(found[1], start)


def steps(*, again, jit_compile):
    state = make_state(randomize(student(stochastic_depth=0.3)), critics=True, optimizer=sgd(0.1))
    if again:
        state.outputs = rematerialized(state.outputs)
    made = trainer(
        state,
        teachers=[linear_teacher(0)],
        batch_size=8,
        accumulation_steps=2,
        mine_weight=0.1,
        jit_compile=jit_compile,
    )
    strategy = tf.distribute.get_strategy()
    result = made.call(feed(strategy, [batch(8), batch(8, seed=1)]), first_step=0, steps=2)
    return result.last, values([*state.model.variables, *state.critic_variables])


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_traced_step_is_the_same(jit_compile):
    """With accumulation (a loop in the graph), token sets, critics and random numbers."""
    plain, before = steps(again=False, jit_compile=jit_compile)
    again, after = steps(again=True, jit_compile=jit_compile)
    assert again == pytest.approx(plain, rel=1e-4, abs=1e-5)
    for own, other in zip(after, before, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-5)


def test_the_flag_is_for_the_training_step_alone(tmp_path):
    options = config(stochastic_depth=0.2, rematerialize=True, weight_decay=0.05)
    state = start.create_state(options, build.load_data(options), 0.1, RunDirectory(tmp_path))
    assert state.outputs.get_layer("block_1").layer is state.model.get_layer("block_1")
    assert [v.path for v in state.outputs.trainable_variables] == [
        v.path for v in state.model.trainable_variables
    ]


def test_a_network_without_blocks_is_named(tmp_path):
    small = {"model": "cifar_resnet20", "patch_size": None, "width": None, "depth": 8}
    options = config(**small, rematerialize=True)
    with pytest.raises(InputError, match="rematerialize=True: cifar_resnet20 has no blocks"):
        start.create_state(options, build.load_data(options), 0.1, RunDirectory(tmp_path))
