"""How differences are judged, and the committed table of them."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from std_keras.errors import InputError
from std_keras.programs.program import StopRequest


@pytest.fixture(scope="module")
def table(root):
    yield importlib.import_module("tools.equality_table")


@pytest.fixture(scope="module")
def compare(table):
    return importlib.import_module("tools.equality.compare")


def test_a_difference_is_relative_to_its_own_variable(compare):
    one = {"large": np.array([300.0, 400.0]), "small": np.array([3.0, 4.0])}
    two = {"large": np.array([300.0, 400.0]), "small": np.array([3.0, 4.1])}
    assert compare.largest_difference(one, two) == (pytest.approx(0.02), "small")


def test_a_variable_of_rounding_errors_is_compared_with_the_largest(compare):
    one = {"large": np.array([300.0, 400.0]), "nothing": np.array([1e-9])}
    two = {"large": np.array([300.0, 400.0]), "nothing": np.array([-1e-9])}
    assert compare.largest_difference(one, two)[0] == pytest.approx(2e-9 / 500)


def test_all_variables_together_are_one_vector(compare):
    one = {"a": np.array([3.0]), "b": np.array([4.0]), "seed": np.array([7], np.uint32)}
    two = {"a": np.array([3.0]), "b": np.array([4.5]), "seed": np.array([7], np.uint32)}
    assert compare.difference_of_all(one, two) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (np.array([1, 2], np.uint32), np.array([1, 3], np.uint32)),
        (np.array([-np.inf]), np.array([0.0])),
    ],
)
def test_seeds_and_infinities_are_the_same_or_not(compare, one, two):
    both = {"weights": np.ones(3)}
    assert compare.largest_difference({**both, "x": one}, {**both, "x": one})[0] == 0
    assert compare.largest_difference({**both, "x": one}, {**both, "x": two}) == (np.inf, "x")


def test_nothing_is_not_equal_to_something(compare):
    with pytest.raises(ValueError, match="other variables"):
        compare.largest_difference({}, {})
    with pytest.raises(ValueError, match="other variables: \\['b'\\]"):
        compare.largest_difference({"a": np.ones(1)}, {"a": np.ones(1), "b": np.ones(1)})


def judge(table, path):
    """Every case with every count of devices, within what is promised."""
    cases = importlib.import_module("tools.equality.cases").CASES
    _, rows = table.read(path)
    expected = {
        (case.title, precision, title)
        for name, case in cases.items()
        for precision in ("float32", "float64")
        for kind, title in table.QUANTITIES
        if kind == "end" or name != "mine_epoch"
    }
    assert {(r["case"], r["precision"], r["compared"]) for r in rows} == expected
    # A gradient is a sum over 24 images of 64 places at most, in another order on each number of
    # devices: of n terms that float32 rounds to one in 2^24, sqrt(n) roundings are to be expected
    # (Higham and Mary 2019).
    gradient = (24 * 64) ** 0.5 * 2**-24
    for row in rows:
        single = gradient if row["compared"] == "gradient" else 1e-5
        limit = single if row["precision"] == "float32" else 1e-10
        for place in table.PLACES:
            assert 0 < float(row[place]) < limit, row


def test_the_committed_table_keeps_the_promise(table, root):
    judge(table, root / "results" / "equality.csv")


def test_the_committed_page_is_the_committed_table(table, root):
    page = (root / "results" / "equality.md").read_text(encoding="utf-8")
    assert page == table.markdown(root / "results" / "equality.csv")


@pytest.mark.slow
def test_the_table_can_be_made_again(table, tmp_path):
    table.main([f"--output={tmp_path / 'equality.csv'}"], StopRequest())
    judge(table, tmp_path / "equality.csv")


def test_another_kind_of_file_is_refused(table, tmp_path):
    with pytest.raises(InputError, match=r"--output=.*\.txt must end in \.csv"):
        table.main([f"--output={tmp_path}/a.txt"], StopRequest())
