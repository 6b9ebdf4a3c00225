"""What would hurt a GPU in the step that XLA compiles, seen in its program on a CPU.

Before XLA's own passes the program is the same for all devices. The passes of a CPU are not those
of a GPU, but what they cannot fuse (a transpose, a copy into another layout) has a cause that both
see.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

import pytest
import tensorflow as tf

from std_keras import models
from std_keras.training.build import dtype_policy
from tests.training.tiny import (
    CLASSES,
    IMAGE_SHAPE,
    batch,
    make_state,
    student,
    task_of,
    trainer,
)

BATCH, DEPTH = 8, 2


class Case(NamedTuple):
    """A step, and what its program may hold: copies are those when written."""

    teachers: int
    heads: int
    copies: int


CASES = {"plain": Case(0, 1, 7), "distilled": Case(1, 2, 11)}


@pytest.fixture(scope="module", params=CASES)
def step(request):
    """A case, its program as it is handed to XLA, and as XLA runs it here, in bfloat16."""
    case = CASES[request.param]
    with dtype_policy("mixed_bfloat16"):
        if case.teachers:
            model = student(("last",))
        else:
            model = models.create(
                "mixer_s16",
                input_shape=IMAGE_SHAPE,
                num_classes=CLASSES,
                patch_size=4,
                width=16,
                depth=DEPTH,
            )
        state = make_state(model)
    made = trainer(state, task=task_of(model, case.teachers), batch_size=BATCH)
    predictions = {}
    if case.teachers:
        predictions = made.task.prediction_format.encode(tf.zeros((BATCH, 1, CLASSES)))
    some = {name: tf.constant(value) for name, value in batch(BATCH).items()}
    program = tf.function(made._update, jit_compile=True).experimental_get_compiler_ir(
        some["images"], some["targets"], predictions
    )
    return case, program(stage="hlo"), program(stage="optimized_hlo")


def kinds(program: str) -> Counter[str]:
    """How many instructions of each kind there are."""
    return Counter(re.findall(r"^\s*(?:ROOT )?\S+ = .*? ([a-z][\w\-]*)\(", program, re.MULTILINE))


def test_nothing_goes_to_the_host_and_back(step):
    _, given, optimised = step
    away = {"infeed", "outfeed", "send", "send-done", "recv", "recv-done", "custom-call"}
    for program in (given, optimised):
        assert len(kinds(program)) > 10
        assert not away & set(kinds(program))


def test_the_products_of_blocks_are_in_bfloat16(step):
    case, given, _ = step
    products = Counter(re.findall(r" = (\w+)\[[\d,]*\]\S* (?:dot|convolution)\(", given))
    # A head is one product forward and two backward.
    assert products.pop("f32") == 3 * case.heads
    # The stem has no gradient of its input; a block has two MLPs of two dense layers each.
    assert products["bf16"] >= 2 + 3 * 4 * DEPTH
    assert set(products) == {"bf16"}
    given_away = re.findall(r" = f32\[[\d,]*\]\S* dot\(bf16", given)
    assert not given_away, "a product of bfloat16 whose result is kept in float32"


def test_no_transpose_stands_alone(step):
    case, given, optimised = step
    assert kinds(given)["transpose"] > 0  # Else there is nothing to fuse.
    entry = kinds(optimised[optimised.index("\nENTRY") :])
    assert entry["fusion"] > 0
    assert entry["transpose"] == 0
    assert entry["copy"] <= case.copies


def test_instructions_are_read_from_the_text():
    """The search finds what it looks for."""
    program = """
ENTRY %main (p: f32[2,3]) -> (f32[3,2], f32[2,3]) {
  %p = f32[2,3]{1,0} parameter(0)
  %transpose.1 = f32[3,2]{1,0} transpose(%p), dimensions={1,0}
  %back.2 = f32[2,3]{1,0} custom-call(%p), custom_call_target="callback"
  ROOT %both.3 = (f32[3,2]{1,0}, f32[2,3]{1,0}) tuple(%transpose.1, %back.2)
}
"""
    assert kinds(program) == {"parameter": 1, "transpose": 1, "custom-call": 1, "tuple": 1}
