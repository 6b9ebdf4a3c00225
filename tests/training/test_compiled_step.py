"""What a step costs, without a clock: its operations, its arithmetic, its memory, its tracings.

The bounds hold for these tiny models and for TensorFlow's pinned version. Whoever exceeds one on
purpose measures with tools.benchmark what it costs, and raises it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import tensorflow as tf

from std_keras.config import resolve
from std_keras.config.optimization import OptimizationOptions
from std_keras.runs.run_directory import RunDirectory
from std_keras.training import build, optimizers
from std_keras.training.assembly import assemble
from std_keras.training.build import dtype_policy
from std_keras.training.loop import Loop
from tests.training.tiny import (
    batch,
    config,
    feed,
    linear_teacher,
    make_state,
    student,
    task_of,
    trainer,
)

BATCH, PATCHES, WIDTH, DEPTH, CLASSES = 8, 4, 16, 2, 10
# Of the norms, (patches, features) of an image: those of blocks, and two of the token set. Norms of
# equal shape share two functions, whose means are products: two of the value, four of the gradient.
NORMED = ((PATCHES, WIDTH), (PATCHES + 1, WIDTH), (PATCHES, WIDTH + 1))
MEANS = 6
PRODUCTS = ("MatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "Conv2D", "Conv2DBackpropFilter")


def adamw_state(**options):
    model = student(("last",))
    state = make_state(model, **options)
    return dataclasses.replace(
        state,
        optimizer=optimizers.create_optimizer(
            OptimizationOptions(weight_decay=0.05),
            learning_rate=1e-3,
            variables=model.trainable_variables,
        ),
    )


def operations(graph: Any, seen: set[str] | None = None) -> Iterator[tf.Operation]:
    """Every operation of a graph, and of the functions that it calls, each function once."""
    seen = set() if seen is None else seen
    for operation in graph.get_operations():
        yield operation
        for attribute in operation.node_def.attr.values():
            name = attribute.func.name if attribute.HasField("func") else ""
            if name and name not in seen:
                seen.add(name)
                yield from operations(graph._get_function(name).graph, seen)


@pytest.fixture(scope="module", autouse=True)
def _compiled_gelu():
    """As in a model of a real size, whose GELUs are large enough to be compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["std_keras.layers.compiled"], "SMALLEST_COMPILED", 0)
        yield


@pytest.fixture(scope="module")
def step() -> list[tf.Operation]:
    """All operations of a call of the trainer: AdamW, a teacher, MINE, the average, clipping."""
    made = trainer(
        adamw_state(critics=True, ema=0.9),
        teachers=[linear_teacher(0)],
        batch_size=BATCH,
        clip_norm=1.0,
        mine_weight=0.1,
    )
    source = feed(tf.distribute.get_strategy(), [batch(BATCH)])
    count = tf.constant(1, tf.int64)
    return list(operations(made._one.get_concrete_function(next(source), count).graph))


def dense(rows: int, *widths: int) -> int:
    return 2 * rows * sum(a * b for a, b in itertools.pairwise(widths))


def flop(operation: tf.Operation) -> int:
    """Of a product: every element of the result is a sum of products."""
    first, second = (tuple(tensor.shape) for tensor in operation.inputs[:2])
    if operation.type == "MatMul":
        depth = first[0] if operation.get_attr("transpose_a") else first[1]
    elif operation.type.startswith("BatchMatMul"):
        depth = first[-2] if operation.get_attr("adj_x") else first[-1]
    elif operation.type == "Conv2D":
        depth = math.prod(second[:-1])
    else:  # The stem's kernel, whose gradient is a sum over all patches.
        assert operation.type == "Conv2DBackpropFilter", operation.type
        depth = BATCH * PATCHES
    return 2 * math.prod(operation.outputs[0].shape) * depth


def test_products(step):
    """One forward pass and one backward pass, of two products for each layer."""
    layers = 1 + 4 * DEPTH + 1 + 2 + 2 + 1  # Stem, blocks, head, token MLPs, token head.
    critic = 3
    counts = Counter(operation.type for operation in step)
    products = sum(counts[kind] for kind in PRODUCTS)
    # Of each bias of an MLP, and of the two weights of each norm, the gradient is ones · rows.
    sums = 4 * DEPTH + 4 + 2 * (2 * DEPTH + 2)
    # The stem has no gradient of its input. The teacher is one product.
    assert products == 3 * (layers + critic) - 1 + sums + MEANS * len(NORMED) + 1


def test_arithmetic(step):
    """The FLOPs of all products in closed form."""
    block = dense(WIDTH, PATCHES, WIDTH // 2, PATCHES) + dense(PATCHES, WIDTH, 4 * WIDTH, WIDTH)
    tokens = dense(WIDTH, PATCHES + 1, WIDTH // 2, 1) + dense(PATCHES, WIDTH + 1, 4 * WIDTH, 1)
    heads = dense(1, WIDTH, CLASSES) + dense(1, WIDTH + PATCHES, CLASSES)
    stem = dense(PATCHES, 16, WIDTH)
    critic = 2 * dense(1, WIDTH + PATCHES, 32, 32, 1)  # Of pairs and of strangers.
    image = 2 * stem + 3 * (DEPTH * block + tokens + heads + critic) + dense(1, 64, CLASSES)
    block_sums = WIDTH * (WIDTH // 2 + PATCHES) + PATCHES * (4 * WIDTH + WIDTH + 4 * WIDTH)
    token_sums = WIDTH * (WIDTH // 2 + 1) + PATCHES * (4 * WIDTH + 1)
    token_norms = 2 * (PATCHES + 1) * WIDTH + 2 * PATCHES * (WIDTH + 1)
    image += 2 * (DEPTH * block_sums + token_sums + token_norms)
    image += 2 * MEANS * sum(rows * features for rows, features in NORMED)
    found = sum(flop(operation) for operation in step if operation.type in PRODUCTS)
    assert found == BATCH * image


def test_operations(step):
    """How many there are of the kinds that a mistake would multiply."""
    counts = Counter(operation.type for operation in step)
    gelus = 2 * DEPTH + 2
    critic_gelus = 2
    # The value of each, and its gradient, in functions that XLA compiles.
    norms = 2 * DEPTH + 2
    assert counts["PartitionedCall"] == 2 * (gelus + norms)
    # Layers of equal shape share them, those of the token set with those of the blocks.
    assert counts["Erf"] == 2 * 2
    assert counts["Erfc"] == critic_gelus
    # Token mixing has two in each direction, and two more in the gradient of its kernels; the
    # spatial token MLP likewise; classes and weights of teachers are turned once or twice.
    assert counts["Transpose"] <= 20
    # Each one costs some microseconds, whatever its size. AdamW's functions count once for each
    # shape of the 46 weights of the model and 6 of the critic. 3,507 when written; 4,628 when each
    # weight had its own operations.
    assert len(step) <= 3600


@pytest.mark.parametrize("jit_compile", [False, True])
def test_updates_are_not_copied_into_the_graph(jit_compile):
    """TensorFlow optimises the function of a shape, and not every call of it, before a first step;
    but XLA is to see all that there is."""
    state = adamw_state(ema=0.9)
    made = trainer(state, batch_size=BATCH, jit_compile=jit_compile)
    source = feed(tf.distribute.get_strategy(), [batch(BATCH)])
    count = tf.constant(1, tf.int64)
    graph = made._one.get_concrete_function(next(source), count).graph
    called = Counter(
        op.get_attr("f").name for op in operations(graph) if op.type == "StatefulPartitionedCall"
    )
    kept = [
        f
        for f in graph.as_graph_def().library.function
        if f.attr["_noinline"].b and f.signature.name in called
    ]
    # Weights that decay and others have a function for each shape, the averages for each shape.
    weights = state.model.trainable_variables
    calls = len(weights) + len(state.average.averages)
    compiled = 2  # The step and the average, each as a whole.
    assert sum(called[f.signature.name] for f in kept) == (compiled if jit_compile else calls)
    assert len(kept) <= 2 * len({tuple(v.shape) for v in weights})


def test_what_a_step_in_bfloat16_computes_in_float32():
    """Heads, losses, means of norms, teachers that are no networks; all else has half the bytes."""
    with dtype_policy("mixed_bfloat16"):
        state = adamw_state()
    made = trainer(state, teachers=[linear_teacher(0)], batch_size=BATCH)
    source = feed(tf.distribute.get_strategy(), [batch(BATCH)])
    count = tf.constant(1, tf.int64)
    found = list(operations(made._one.get_concrete_function(next(source), count).graph))
    products = Counter(op.outputs[0].dtype for op in found if op.type in PRODUCTS)
    heads, teacher = 2, 1  # A head is one product forward and two backward.
    assert products[tf.float32] == 3 * heads + teacher + MEANS * len(NORMED)
    assert set(products) == {tf.float32, tf.bfloat16}
    casts = Counter((op.inputs[0].dtype, op.outputs[0].dtype) for op in found if op.type == "Cast")
    # One way and back for each of the 42 weights outside of the heads; the others are of
    # activations. 48 and 65 when written.
    assert casts[tf.float32, tf.bfloat16] <= 50
    assert casts[tf.bfloat16, tf.float32] <= 68


SIZES = {"pred": 1, "u8": 1, "s8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8}
FREE = {"parameter", "constant", "get-tuple-element", "tuple", "bitcast"}


def written_bytes(program: str) -> int:
    """What the kernels of XLA's optimised program write: the results of its entry."""
    entry = program[program.index("\nENTRY") :].splitlines()[2:]
    total = 0
    for line in entry:
        found = re.match(r"\s*(?:ROOT )?%?[\w.\-]+ = (\(.*?\)|\S+) ([\w\-]+)\(", line)
        if found is None or found[2] in FREE:
            continue
        for kind, shape in re.findall(r"(\w+)\[([\d,]*)\]", found[1]):
            total += SIZES.get(kind, 8) * math.prod(int(size) for size in shape.split(",") if size)
    return total


def test_bytes_of_the_compiled_step():
    """Of the step as XLA compiles it, what it writes to memory: one block, one teacher, SGD."""
    state = make_state(student(("last",), depth=1))
    made = trainer(state, task=task_of(state.model, 1), batch_size=BATCH)
    some = batch(BATCH)
    predictions = made.task.prediction_format.encode(tf.zeros((BATCH, 1, CLASSES)))
    compiled = tf.function(made._update, jit_compile=True)
    arguments = (tf.constant(some["images"]), tf.constant(some["targets"]), predictions)
    program = compiled.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo")
    weights = 4 * sum(math.prod(v.shape) for v in state.model.trainable_variables)
    found = written_bytes(program)
    assert weights < found  # Each is written at least.
    # 264,692 when written. A tensor that is written once more costs as much as its size.
    assert found <= 290_000


@pytest.mark.parametrize("begin", [False, True])
def test_a_run_is_traced_once(tmp_path, begin):
    """Calls of two lengths, epochs, evaluations of two parts with two sets of weights."""
    dataset = build.load_data(config(validation_fraction=0.2))
    chosen = resolve(
        config(epochs=3, steps_per_call=2, ema_decay=0.5, depth=1, validation_fraction=0.2),
        image_size=8,
        horizontal_flip=False,
    )
    run = RunDirectory(tmp_path / "run")
    run.prepare()
    strategy = tf.distribute.get_strategy()
    made = assemble(chosen, dataset, run, strategy=strategy, begin=begin)
    assert made.trainer._one.experimental_get_tracing_count() == int(begin)
    loop = Loop(made)
    loop.run(lambda: False)
    assert loop.step == 9 and not made.begun
    assert set(made.evaluators.parts) == {"validation", "test"}
    functions = [made.trainer._one, *(e._all for e in made.evaluators.parts.values())]
    assert [f.experimental_get_tracing_count() for f in functions] == [1, 1, 1]
