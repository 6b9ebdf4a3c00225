"""What a finished run leaves in the process: no graph of its own, so no memory that grows."""

from __future__ import annotations

import gc
from pathlib import Path

import tensorflow as tf

from std_keras import custom_gradients
from std_keras.runs.evaluate import evaluate
from std_keras.training import train


def graphs() -> dict[int, tf.Graph]:
    """Every graph of a function that something still holds."""
    gc.collect()
    kind = tf.__internal__.FuncGraph
    return {id(found): found for found in gc.get_objects() if isinstance(found, kind)}


def test_a_second_run_leaves_no_graph(student_config, tmp_path: Path):
    config = student_config.replace(epochs=1, max_train_examples=40, rematerialize=True)
    train(config, model_dir=tmp_path / "first")  # It makes what a process makes once.
    before = graphs()
    train(config.replace(seed=1, depth=1), model_dir=tmp_path / "second")
    evaluate(tmp_path / "second")
    left = [graph.name for key, graph in graphs().items() if key not in before]
    assert not left


@tf.custom_gradient
def doubled(x):
    return x + x, lambda upstream: 3.0 * upstream  # Not 2, so that it is known again.


def test_a_gradient_can_be_asked_for_as_long_as_its_graph_is_there():
    function = tf.function(lambda x: doubled(x) * 1.0)
    traced = function.get_concrete_function(tf.TensorSpec((), tf.float32))
    custom_gradients.leave_to_their_graphs()
    gc.collect()
    x = tf.constant(5.0)
    for _ in range(2):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = traced(x)
        assert float(tape.gradient(y, x)) == 3.0
        custom_gradients.leave_to_their_graphs()


def test_the_table_of_gradients_does_not_grow():
    from tensorflow.python.framework import ops

    def make():
        tf.function(doubled).get_concrete_function(tf.TensorSpec((), tf.float32))
        custom_gradients.leave_to_their_graphs()
        gc.collect()
        return len(ops.gradient_registry.list())

    assert make() == make() == make()


def test_gradients_of_a_saved_model_stay(tmp_path: Path):
    """TensorFlow enters them into the same table, under names of the same form."""

    class Saved(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((), tf.float32)])
        def __call__(self, x):
            return doubled(x) * 1.0

    tf.saved_model.save(Saved(), str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    custom_gradients.leave_to_their_graphs()
    x = tf.constant(5.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = loaded(x)
    assert float(tape.gradient(y, x)) == 3.0


def test_a_graph_that_goes_in_the_middle(monkeypatch):
    """The collector may run at any moment, and take entries out of the table."""
    from tensorflow.python.framework import ops

    custom_gradients.leave_to_their_graphs()  # What is new belongs to the real table.

    class Changing(dict):
        def __iter__(self):
            return iter(["CustomGradient-gone", *self.keys()])

    monkeypatch.setattr(
        ops.gradient_registry, "_registry", Changing(ops.gradient_registry._registry)
    )
    custom_gradients.leave_to_their_graphs()
