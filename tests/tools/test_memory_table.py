"""Peak memory of a step, cell by cell."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest

from std_keras.errors import InputError
from std_keras.programs.program import StopRequest


@pytest.fixture(scope="module")
def table(root):
    yield importlib.import_module("tools.memory_table")


def test_the_peak_of_a_process_is_not_that_of_the_one_that_started_it(root):
    code = "from tools.benchmarks import memory; print(memory.peak_bytes())"
    ballast = np.ones(400_000_000, np.uint8)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True, check=True
    )
    assert 1_000_000 < int(done.stdout) < len(ballast) / 2


@pytest.mark.slow
def test_rematerialisation_and_accumulation_take_less(table, tmp_path):
    """A network whose activations weigh more than its weights."""
    output = tmp_path / "memory.csv"
    small = ("--image_size=64", "--width=128", "--depth=8", "--batch_sizes=128")
    table.main([f"--output={output}", *small], StopRequest())
    lines = output.read_text().splitlines()
    rows = [line.split(",") for line in lines[3:]]
    step = {variant: int(mb) for _, variant, _, mb, _ in rows}
    assert set(step) == {"plain", "rematerialize", "accumulation"}
    assert step["rematerialize"] < 0.8 * step["plain"]
    assert step["accumulation"] < 0.8 * step["plain"]
    page = output.with_suffix(".md").read_text()
    assert f"| 128 | `--rematerialize` | {rows[1][2]} | {rows[1][3]} | {rows[1][4]} |" in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--output=a.txt"], r"--output=a\.txt must end in \.csv"),
        (["--output=a.csv", "--batch_sizes=8,6"], "--batch_sizes: '6' is not a multiple of 4"),
        (["--output=a.csv", "--batch_sizes="], "--batch_sizes has an empty value"),
        (["--output=a.csv", "--variants=tiny"], "--variants: 'tiny' is not one of plain, remat"),
    ],
)
def test_bad_flags(table, arguments, words):
    with pytest.raises(InputError, match=words):
        table.main(arguments, StopRequest())
