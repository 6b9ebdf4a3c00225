"""The page of results says what the tables say, and nothing else."""

from __future__ import annotations

import csv
import importlib
import statistics

import pytest

from std_keras.errors import InputError

HEADER = "table,setting,figure,published,certainty,source,ours\n"
SWEEP = """\
# std-keras sweep study.toml --output=results/study.csv
arm,seed,state,split,top1,flags,error
plain,0,done,test,0.5000,,
plain,1,done,test,0.5200,,
better,0,done,test,0.5300,,
better,1,done,test,0.5600,,
better,2,done,test,0.9900,,
chosen,0,done,validation,0.7000,,
broken,0,failed (3),,,,
"""


@pytest.fixture
def tool(root, monkeypatch):
    return importlib.import_module("tools.results_page")


@pytest.fixture
def cell(tool, tmp_path):
    """The line of a page with one cell."""
    (tmp_path / "study.csv").write_text(SWEEP)

    def line(ours, *, published="51.00", certainty="read"):
        path = tmp_path / "published.csv"
        path.write_text(f"{HEADER}T,S,top-1,{published},{certainty},somebody,{ours}\n")
        text = tool.page(path)
        return next(x for x in text.splitlines() if x.startswith(("| S |", "| T | S |")))

    return line


def test_mean_and_spread(cell):
    spread = 100 * statistics.stdev([0.50, 0.52])
    assert cell("study:plain:top1") == (
        f"| S | top-1 | 51.00 | read | somebody | 51.00 ± {spread:.2f} (n = 2) | `study`, `plain` |"
    )


def test_a_difference_is_that_of_runs_with_the_same_seed(cell):
    """Seed 2 has no partner."""
    spread = 100 * statistics.stdev([0.03, 0.04])
    assert f"| +3.50 ± {spread:.2f} (n = 2) |" in cell("study:better - plain:top1")


@pytest.mark.parametrize(
    "ours",
    ["", "study:nobody:top1", "elsewhere:plain:top1", "study:broken:top1", "study:chosen:top1"],
)
def test_what_was_not_measured_on_the_test_split_stands_at_the_end(cell, ours):
    assert cell(ours) == "| T | S | top-1 | 51.00 | read | somebody |"


def test_the_first_place_that_has_a_figure_counts(cell):
    assert cell("study:nobody:top1; study:plain:top1").endswith("| `study`, `plain` |")
    assert cell("elsewhere:plain:top1; study:plain:top1").endswith("| `study`, `plain` |")
    assert cell("study:plain:top1; study:better:top1").endswith("| `study`, `plain` |")
    assert cell("study:nobody:top1; elsewhere:x:top1").startswith("| T | S |")


def test_what_has_no_measurement_is_the_last_section(tool, tmp_path):
    (tmp_path / "study.csv").write_text(SWEEP)
    (tmp_path / "published.csv").write_text(
        f"{HEADER}T,S,top-1,51,read,x,\nU,S,top-1,51,read,x,study:plain:top1\n"
        "T,R,top-1,,missing,,\n"
    )
    heads = [x for x in tool.page(tmp_path / "published.csv").splitlines() if x.startswith("## ")]
    assert heads == ["## U", "## The commands", "## Not run here"]


def test_a_figure_that_was_not_found(cell):
    assert "| not found | missing |" in cell("", published="", certainty="missing")


@pytest.mark.parametrize(
    ("published", "certainty"), [("1", "sure"), ("1", "missing"), ("", "read")]
)
def test_every_figure_says_how_sure_it_is(cell, published, certainty):
    with pytest.raises(InputError, match=f"certainty={certainty}"):
        cell("", published=published, certainty=certainty)


def test_the_commands_of_all_tables_that_are_quoted(tool, tmp_path):
    (tmp_path / "study.csv").write_text(SWEEP)
    (tmp_path / "more.csv").write_text(SWEEP.replace("study", "more"))
    (tmp_path / "published.csv").write_text(f"{HEADER}T,S,top-1,51,read,x,study:plain:top1\n")
    (tmp_path / "questions.csv").write_text(
        "table,question,expected,source,ours\n7,Q,above 0,x,more:better - plain:top1\n"
    )
    text = tool.page(tmp_path / "published.csv")
    assert text.splitlines()[-2:] == [
        "- `results/study.csv`: `std-keras sweep study.toml --output=results/study.csv`",
        "- `results/more.csv`: `std-keras sweep more.toml --output=results/more.csv`",
    ]


def test_the_committed_page_is_made_from_the_committed_tables(root, tool):
    assert (root / "RESULTS.md").read_text() == tool.page(root / "results" / "published.csv")


def test_every_arm_that_the_page_asks_for_is_in_its_sweep(root, tool):
    """A cell must not stay empty for ever because an arm was renamed."""
    spec = importlib.import_module("std_keras.research.sweeps.spec")
    asked = set()
    for table in ("published.csv", "questions.csv"):
        lines = (root / "results" / table).read_text().splitlines()
        rows = csv.DictReader(x for x in lines if not x.startswith("#"))
        asked |= {place for row in rows for place in row["ours"].split("; ")}
    found = 0
    for cell_ in asked - {""}:
        name, _, rest = cell_.partition(":")
        path = root / "flags" / "sweeps" / f"{name}.toml"
        if not path.exists():
            assert name == "models"
            continue
        sweep = spec.read(path)
        known = {*sweep.arms, *(f"teacher-{t}" for t in sweep.teachers)}
        arms = rest.rpartition(":")[0].split(" - ")
        assert set(arms) <= known, cell_
        found += len(arms)
    assert found > 40
