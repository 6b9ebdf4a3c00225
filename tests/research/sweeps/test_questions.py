"""Verdicts follow from the figures by Student's t: against SciPy's own test, and at the border."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from scipy import stats

from std_keras.errors import InputError

HEADER = "table,question,expected,source,ours\n"
SWEEP = """\
# the command
arm,seed,state,split,top1,average_top1,classification_top1,flags,error
plain,0,done,test,0.5000,,,,
plain,1,done,test,0.5200,,,,
plain,2,done,test,0.5100,,,,
better,0,done,test,0.5300,0.5300,0.5000,,
better,1,done,test,0.5510,0.5510,0.5200,,
better,2,done,test,0.5390,0.5390,0.5600,,
better,3,done,test,0.9900,0.9900,0.1000,,
"""


@pytest.fixture
def tool(root, monkeypatch):
    return importlib.import_module("std_keras.research.sweeps.questions")


@pytest.mark.parametrize("n", [3, 5, 12])
def test_the_interval_leaves_out_zero_where_the_paired_t_test_says_so(tool, n):
    """The interval of 95 % and SciPy's test at 5 % are one statement, made in two ways."""
    random = np.random.default_rng(n)
    verdicts = set()
    for shift in np.linspace(-2, 2, 41):
        first, second = random.normal(shift, 1, n), random.normal(0, 1, n)
        said = tool.answer([*(first - second)], expected="above 0")
        test = stats.ttest_rel(first, second)
        low, high = test.confidence_interval(0.95)
        assert said.half_width == pytest.approx((high - low) / 2)
        assert said.mean == pytest.approx((high + low) / 2)
        wanted = "holds" if said.mean > 0 else "the opposite"
        assert said.verdict == (wanted if test.pvalue < 0.05 else "cannot be told apart")
        verdicts.add(said.verdict)
    assert verdicts == {"holds", "the opposite", "cannot be told apart"}


@pytest.mark.parametrize(
    ("differences", "expected", "verdict"),
    [
        ([1.0, 1.1, 1.2], "above 0", "holds"),
        ([1.0, 1.1, 1.2], "below 0", "the opposite"),
        ([1.0, 1.1, 1.2], "not known", "better"),
        ([-1.0, -1.1, -1.2], "not known", "worse"),
        ([-1.0, -1.1, -1.2], "below 0", "holds"),
        ([1.0, -1.0, 0.5], "above 0", "cannot be told apart"),
        ([1.0, 1.1], "above 0", "too few runs"),
        ([1.0], "above 0", "too few runs"),
    ],
)
def test_verdicts(tool, differences, expected, verdict):
    assert tool.answer(differences, expected=expected).verdict == verdict


@pytest.fixture
def line(tool, tmp_path):
    (tmp_path / "study.csv").write_text(SWEEP)

    def of(ours, *, expected="above 0"):
        path = tmp_path / "questions.csv"
        path.write_text(f"{HEADER}7,Q,{expected},somebody,{ours}\n")
        return tool.lines(path)[-1]

    return of


def test_a_difference_of_arms_pairs_seeds(line):
    """Seed 3 has no partner."""
    interval = stats.ttest_1samp([3.0, 3.1, 2.9], 0).confidence_interval(0.95)
    width = (interval.high - interval.low) / 2
    assert line("study:better - plain:top1") == (
        f"| 7 | Q | above 0 | somebody | +3.00 ± {width:.2f} (n = 3) | holds |"
    )


def test_a_difference_of_heads_is_of_one_arm(line):
    found = line("study:better:average_top1 - classification_top1")
    mean = np.mean([3.0, 3.1, -2.1, 89.0])
    assert f"| {mean:+.2f} ± " in found
    assert found.endswith("(n = 4) | cannot be told apart |")


def test_what_was_not_run(line):
    assert line("study:nobody - plain:top1").endswith("| not run |  |")


def test_a_direction_must_be_one_that_is_known(line):
    with pytest.raises(InputError, match="expected one of above 0, below 0, not known"):
        line("study:better - plain:top1", expected="up")
