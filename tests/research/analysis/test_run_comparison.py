"""Records of runs from files written by hand: half lines, unfinished runs, exports."""

from __future__ import annotations

import json

import pytest

from std_keras.config import TrainConfig
from std_keras.errors import InputError
from std_keras.research.analysis import run_comparison
from std_keras.runs.run_directory import RunDirectory
from tests.results import result


def make(folder, *, lines=(), result=None, examples=None, **flags):
    run = RunDirectory(folder)
    folder.mkdir()
    run.write_start(TrainConfig(**flags), label_names="ab", architecture="{}", examples=examples)
    run.metrics_file.write_text("".join(json.dumps(x) + "\n" for x in lines) + '{"step": 3, "ep')
    if result is not None:
        run.write_result(result)
    return run_comparison.read(folder, name=folder.name)


def test_curves_and_what_counts(tmp_path):
    lines = [
        {"step": 1, "epoch": 0.5, "split": "train", "loss/total": 2.0},
        {"step": 2, "epoch": 1.0, "split": "train", "loss/total": 1.5},
        {"step": 2, "epoch": 1.0, "split": "eval", "test/ema/average/top1": 0.25},
    ]
    record = make(tmp_path / "run", lines=lines, ema_decay=0.9)
    assert record.curve("train", "loss/total") == ([0.5, 1.0], [2.0, 1.5])
    assert record.curve("eval", "loss/total") == ([], [])
    assert (record.kept_weights, record.main_head, record.result) == ("ema", "average", None)
    plain = make(tmp_path / "other", result=result(head="confidence"))
    assert (plain.kept_weights, plain.main_head) == ("raw", "confidence")
    assert plain.result == result(head="confidence")


def test_what_was_watched_is_a_curve_of_an_unfinished_run_too(tmp_path):
    """Evaluations in a run have the names of weights and head; the last one alone says "test"."""
    watched = [
        {"step": n, "epoch": float(n), "split": "eval", "ema/average/top1": 0.1 * n} for n in (1, 2)
    ]
    last = {"step": 3, "epoch": 3.0, "split": "eval", "test/ema/average/top1": 0.5}
    going = make(tmp_path / "going", lines=watched, ema_decay=0.9, examples={"train": 9, "test": 3})
    assert going.main_head == "average" and going.watched_part == "test"
    assert going.watched("top1") == ([1.0, 2.0], [0.1, 0.2])
    assert going.watched("loss") == ([], [])
    done = make(tmp_path / "done", lines=[*watched, last], ema_decay=0.9)
    assert done.watched("top1") == ([1.0, 2.0, 3.0], [0.1, 0.2, 0.5])
    chosen = make(
        tmp_path / "chosen",
        lines=[*watched, last],
        ema_decay=0.9,
        examples={"train": 9, "validation": 3, "test": 3},
    )
    assert chosen.watched_part == "held-out part"
    assert chosen.watched("top1") == ([1.0, 2.0], [0.1, 0.2])


def test_differing_options():
    first = TrainConfig(epochs=3, alpha=0.1, data_dir="here")
    second = TrainConfig(epochs=3, alpha=0.2, data_dir="there")
    assert run_comparison.differing_options([first, second, first]) == {"alpha": [0.1, 0.2, 0.1]}
    assert run_comparison.differing_options([first, first]) == {}


def test_exports_are_found_beside_other_reports(tmp_path):
    for name, content in (("a", {"tflite": {}}), ("b", {"something": 1})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(content))
    found = run_comparison.exports([tmp_path, tmp_path, tmp_path / "a"])
    assert {e["folder"] for e in found} == {str(tmp_path / "a")}
    (tmp_path / "b" / "report.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        run_comparison.exports([tmp_path])


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a run directory"):
        run_comparison.read(tmp_path, name="x")
