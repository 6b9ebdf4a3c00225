"""XLA takes the step as one function, whatever the losses, and nothing in it calls back.

Converted to HLO here, which is what a TPU's compiler starts from; that the compiled step computes
the same is in test_step and test_rematerialize.
"""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import tensorflow as tf

from std_keras import losses
from std_keras.training.rematerialize import rematerialized
from tests.training.tiny import (
    batch,
    linear_teacher,
    make_state,
    sgd,
    student,
    task_of,
    trainer,
)

VARIANTS = ("both", "propagated", "spatial", "channel", "none", "deit")


def every_combination():
    """Kind, token variant, whether MINE takes part, confidence and its scope."""
    yield ("none", "none", False, "uniform", "example")
    for variant in VARIANTS:
        for mine in (False, True) if variant in ("both", "propagated") else (False,):
            yield from itertools.product(
                losses.KINDS, (variant,), (mine,), losses.CONFIDENCES, losses.SCOPES
            )


# test_step compiles hard-both-MINE to the end; this differs from it in every choice.
QUICK = ("soft", "propagated", True, "entropy", "batch")


def made(kind, variant, mine, confidence, scope):
    """A trainer with one of each: accumulation, clipping, L2, random numbers, block by block."""
    tokens = "both" if variant == "propagated" else variant
    sites = {"propagated": ["both", "both"], "both": ["both", "last"]}
    options = {"tokens": tokens, "propagate_tokens": variant == "propagated"}
    model = student(sites.get(variant, ["last", "last"]), stochastic_depth=0.2, **options)
    state = make_state(model, optimizer=sgd(0.1), critics=mine)
    state.outputs = rematerialized(state.outputs)
    count = 0 if kind == "none" else 2
    task = task_of(
        model,
        count,
        kind="hard" if kind == "none" else kind,
        confidence=confidence,
        confidence_scope=scope,
    )
    return trainer(
        state,
        teachers=[linear_teacher(index) for index in range(count)],
        task=task,
        batch_size=8,
        accumulation_steps=2,
        clip_norm=0.5,
        l2=0.01,
        mine_weight=0.1 if mine else 0.0,
        jit_compile=True,
    )


def check(combination):
    step = made(*combination)
    some = {name: tf.constant(value) for name, value in batch(8).items()}
    arguments = (some["images"], some["targets"], step.task.predictions(some))
    program = step._apply.experimental_get_compiler_ir(*arguments)(stage="hlo")
    entry = re.search(r"^ENTRY .*$", program, re.MULTILINE)
    assert entry, program[:500]
    # Every trainable weight goes in and comes out: it is the whole step, not a part of it.
    weights = len(step.state.model.trainable_variables) + len(step.state.critic_variables)
    assert entry[0].count("f32[") > 2 * weights, entry[0][:500]
    graph = step._apply.get_concrete_function(*arguments).graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    assert len(nodes) > 100
    back = re.compile("PyFunc|Host|Outfeed|Infeed|Send|Recv")
    called_back = {node.op for node in nodes if back.search(node.op)}
    assert not called_back
    for line in program.splitlines():
        assert not re.search(r"\b(outfeed|infeed|send|recv)\(|callback", line), line
    dynamic = [line for line in program.splitlines() if re.search(r"\[[^\]]*<=", line)]
    assert not dynamic, dynamic[:3]


def test_the_step_is_one_function_without_a_way_back():
    check(QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("combination", [c for c in every_combination() if c != QUICK])
def test_so_it_is_with_every_combination_of_losses(combination):
    check(combination)


def test_all_combinations_are_listed():
    assert len(set(every_combination())) == 1 + 2 * 8 * 6
    assert QUICK in every_combination()


def test_a_callback_would_be_seen():
    """The search finds what it looks for."""

    @tf.function
    def back(x):
        return tf.numpy_function(np.sin, [x], tf.float32)

    graph = back.get_concrete_function(tf.constant(1.0)).graph.as_graph_def()
    assert any("PyFunc" in node.op for node in graph.node)
