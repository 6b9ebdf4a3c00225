"""The picture of accuracy against cost: its figures from the rows, and where its names stand."""

from __future__ import annotations

import importlib
import itertools
import json
import sys

import numpy as np
import pytest

from std_keras.programs import program

HEAD = "arm,seed,state,split,top1,top5,teachers,macs,steps,flags,error"
ROWS = f"""# the command
{HEAD}
teacher-small,0,done,test,0.5000,0.8,,1000,50,--model=cifar_resnet20,
baseline,0,done,test,0.3000,0.6,,200,10,--batch_size=64,
baseline,1,done,test,0.3200,0.6,,200,10,--batch_size=64,
no_tokens,0,done,test,0.3300,0.6,small,210,10,--batch_size=64 --distillation=hard --tokens=none,
std,0,done,test,0.3500,0.6,small,220,10,--distillation=hard,
held_out,0,done,validation,0.9000,0.9,small,220,10,--distillation=hard,
broken,0,failed (3),,,,,,,--distillation=hard,loss/total became non-finite
"""


@pytest.fixture
def tool(root, monkeypatch):
    monkeypatch.setattr(program.StopRequest, "install", lambda self: None)
    return importlib.import_module("tools.cost_plot")


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "study.csv"
    path.write_text(ROWS)
    return path


def run(tool, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["cost_plot.py", *map(str, arguments)])
    return program.run(tool.main)


def test_cost_is_three_passes_of_the_student_and_one_of_each_teacher(tool, table):
    points = {p.arm: p for p in tool.points(tool.rows.read(table), batch_size=128)}
    assert set(points) == {"baseline", "no_tokens", "std"}  # On the test split, and finished.
    assert points["baseline"].cost == 10 * 64 * 3 * 200
    assert points["no_tokens"].cost == 10 * 64 * (3 * 210 + 1000)
    assert points["std"].cost == 10 * 128 * (3 * 220 + 1000)
    assert points["baseline"].top1 == pytest.approx(31.0)
    assert points["baseline"].deviation == pytest.approx(np.std([30, 32], ddof=1))
    assert [points[arm].group for arm in ("baseline", "no_tokens", "std")] == [
        "without a teacher",
        "distilled without tokens",
        "distilled with tokens",
    ]


def test_a_run_whose_cost_is_not_known_is_left_out(tool, table):
    table.write_text(
        ROWS.replace("small,0,done,test,0.5000,0.8,,1000", "small,0,done,test,0.5,0.8,,")
    )
    arms = [p.arm for p in tool.points(tool.rows.read(table), batch_size=128)]
    assert arms == ["baseline"]


def test_a_teacher_of_the_package_says_itself_what_it_costs(tool, table, root):
    """It has no row: the sweep did not train it."""
    flags = "--distillation=hard --teacher=std_keras:cifar100_cpu_resnet20,site=last"
    none = flags.replace("hard", "none")
    lines = [
        f'std,0,done,test,0.3,0.6,small,220,10,"{flags}",',
        f'baseline,0,done,test,0.3,0.6,,200,10,"{none}",',
    ]
    table.write_text("\n".join(["# the command", HEAD, *lines, ""]))
    point, baseline = tool.points(tool.rows.read(table), batch_size=128)
    folder = root / "std_keras" / "runs" / "pretrained" / "cifar100_cpu_resnet20"
    macs = json.loads((folder / "result.json").read_text())["macs"]
    assert macs > 4e7
    assert point.cost == 10 * 128 * (3 * 220 + macs)
    assert baseline.cost == 10 * 128 * 3 * 200  # Its flags name the teacher too.


def test_names_keep_their_distance_and_order_and_move_no_more_than_needed(tool):
    wanted = [3.0, 1.0, 1.1, 1.2, 9.0]
    placed = tool.spread(wanted, gap=1.0)
    in_order = [placed[i] for i in np.argsort(wanted)]
    assert all(b - a >= 1 - 1e-12 for a, b in itertools.pairwise(in_order))
    assert placed[4] == 9.0  # Far from the others: it stays.
    # The least squares with these distances: the three at the bottom would reach 2.1, where 3.0 is
    # less than a gap away, so all four move around their mean.
    assert np.mean(in_order[:4]) == pytest.approx(np.mean([3.0, 1.0, 1.1, 1.2]))
    np.testing.assert_allclose(np.diff(in_order[:4]), 1.0)
    np.testing.assert_allclose(tool.spread([5.0, 5.0], gap=2.0), [4.0, 6.0])


def test_the_picture_names_every_arm_and_is_the_same_twice(tool, table, monkeypatch):
    assert run(tool, monkeypatch, table) == 0
    first = table.with_suffix(".svg").read_text()
    for name in ("baseline", "no_tokens", "std", "without a teacher"):
        assert f"<!-- {name} -->" in first
    assert "held_out" not in first
    assert run(tool, monkeypatch, table) == 0
    assert table.with_suffix(".svg").read_text() == first


@pytest.mark.parametrize(("most", "scale"), [(29.0, "linear"), (31.0, "log")])
def test_costs_that_differ_much_get_a_logarithmic_axis(tool, most, scale):
    found = [
        tool.Point(
            arm=str(cost), group="without a teacher", cost=cost, top1=50, deviation=0, runs=1
        )
        for cost in (1.0, most)
    ]
    axes = tool.draw(found).axes[0]
    assert axes.get_xscale() == scale
    # The names stand beside the axis, as far from it on either scale.
    width = {"linear": lambda x: x, "log": np.log}[scale]
    (column,) = {text.xyann[0] for text in axes.texts}
    left, right = map(width, axes.get_xlim())
    assert width(column) - right == pytest.approx(0.06 * (right - left))


@pytest.mark.parametrize("costs", [(5.0,), (5.0, 5.0), (0.0, 5.0), (0.0,)])
def test_names_are_inside_the_picture(tool, costs):
    """Also where the costs are equal, or one is less than the table can say."""
    found = [
        tool.Point(arm=f"a{i}", group="without a teacher", cost=c, top1=50 + i, deviation=0, runs=1)
        for i, c in enumerate(costs)
    ]
    figure = tool.draw(found)
    figure.canvas.draw()
    axes = figure.axes[0]
    assert axes.get_xscale() == "linear"
    assert len(axes.texts) == len(costs)
    for text in axes.texts:
        begins, _ = axes.transData.transform((text.xyann[0], 0.0))
        # Its own extent has the line to the point in it; the name begins where that ends.
        assert axes.get_window_extent().x1 < begins < text.get_window_extent().x1 < figure.bbox.x1


def test_minutes_of_training_on_the_machine_of_the_rows(tool, table, monkeypatch):
    head = HEAD + ",train_seconds,processor,cores,accelerator"
    lines = [
        "teacher-small,0,done,test,0.5,0.8,,1000,50,--model=cifar_resnet20,,9000,P,2,",
        "baseline,0,done,test,0.3,0.6,,200,10,,,60,P,1,",
        "baseline,1,done,test,0.3,0.6,,200,10,,,180,P,1,",
        "std,0,done,test,0.4,0.6,small,,10,--distillation=hard,,240,P,2,G",
    ]
    table.write_text("\n".join([head, *lines, ""]))
    points = {p.arm: p.cost for p in tool.timed_points(tool.rows.read(table))}
    assert points == {"baseline": 2.0, "std": 4.0}
    assert run(tool, monkeypatch, table, "--cost=minutes") == 0
    assert "minutes of training, 2 cores of P; 1 core of P; G" in table.with_suffix(
        ".svg"
    ).read_text().replace("<!-- ", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "one table"),
        (("nowhere.csv",), "is not there"),
        (("{table}", "--output=picture.bmp"), ".svg or .png"),
        (("{empty}",), "no finished run"),
    ],
)
def test_bad_input_gets_a_sentence(tool, table, monkeypatch, capsys, arguments, message):
    empty = table.with_name("empty.csv")
    empty.write_text(f"{HEAD}\nbroken,0,failed (3),,,,,,,--epochs=1,lost\n")
    given = [a.format(table=table, empty=empty) for a in arguments]
    assert run(tool, monkeypatch, *given) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
