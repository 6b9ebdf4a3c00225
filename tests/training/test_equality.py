"""Four devices take the steps that one takes, in float64, where nothing hides behind rounding.

The whole table, with workers and float32, is made by tools.equality_table (its slow test).
"""

from __future__ import annotations

import numpy as np
import pytest

from tests import processes

CASES = {"student": 2, "accumulation": 1, "batch_norm": 2, "mine_epoch": 1}  # And their steps.


@pytest.fixture(scope="module")
def compare(root):
    from tools.equality import compare

    yield compare


@pytest.fixture(scope="module")
def outcomes(compare, tmp_path_factory):
    """By case, what one device and what four did."""
    file = tmp_path_factory.mktemp("equality") / "arrays.npz"
    done = processes.run(
        *("-m", "tools.equality.process"),
        *("--replicas=1,4", "--precisions=float64", "--eagerly"),
        "--cases=" + ",".join(f"{case}:{steps}" for case, steps in CASES.items()),
        f"--output={file}",
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = compare.read(file)
    assert {case for _, case, _ in found} == set(CASES)
    return {case: (found["float64", case, 1], found["float64", case, 4]) for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_four_devices_train_as_one(compare, outcomes, case):
    one, four = outcomes[case]
    assert compare.largest_difference(one["start"], four["start"])[0] == 0
    for kind in ("gradients", "end"):
        if kind in one:
            difference, variable = compare.largest_difference(one[kind], four[kind])
            assert difference < 1e-10, f"{kind}: {variable} differs by {difference:.1e}"


@pytest.mark.parametrize("case", CASES)
def test_all_devices_hold_the_same_bits(outcomes, case):
    """Weights, BatchNorm's statistics, critics, seeds, MINE's and the weights' moving averages."""
    assert outcomes[case][1]["apart"][""].size == 0


@pytest.mark.parametrize("case", CASES)
def test_everything_that_training_changes_has_changed(outcomes, case):
    one, _ = outcomes[case]
    assert {value.dtype for value in one["end"].values()} <= {np.dtype("f8"), np.dtype("i8")}
    still = {n for n, v in one["end"].items() if np.array_equal(v, one["start"][n])}
    # MINE reaches what lies before the tokens; and the last bias of a critic shifts all scores,
    # which leaves the bound of one batch as it is.
    assert case == "mine_epoch" or not still
    names = " ".join(set(one["end"]) - still)
    wanted = {
        "student": ("spatial_token", "channel_token", "critic 1", "MINE's", "seed", "average 0"),
        "accumulation": ("spatial_token", "average 0"),
        "batch_norm": ("gamma", "moving_mean", "moving_variance", "average 0"),
        "mine_epoch": ("spatial_token", "critic 1", "MINE's"),
    }
    assert all(name in names for name in wanted[case])
