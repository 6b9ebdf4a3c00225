"""What a run says of its parts and classes, and that older runs keep theirs."""

from __future__ import annotations

import json

import pytest

import std_keras
from std_keras import data
from std_keras.errors import Interrupted
from std_keras.training import train
from tests.training.test_metric_writer import events
from tests.training.tiny import as_python, config

OPTIONS = {"validation_fraction": 0.1, "max_train_examples": 0}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_run_says_where_its_parts_came_from(tmp_path, caplog):
    caplog.set_level("INFO", logger="std_keras")
    with as_python():
        train(config(**OPTIONS, epochs=1, batch_size=256), model_dir=tmp_path)
    result = read(tmp_path / "result.json")
    assert result["splits"] == {
        "train": {"examples": 1293, "from": "80 % of the digits"},
        "validation": {
            "examples": 144,
            "from": "validation_fraction=0.1 of each class of 80 % of the digits, data_seed=0",
        },
        "test": {"examples": 50, "from": "20 % of the digits, fixed, stratified"},
    }
    assert read(tmp_path / "examples.json") == {
        "train": 1293,
        "validation": 144,
        "test": 50,
        "stratified": True,
    }
    classes = result["per_class"]
    assert list(classes) == list("0123456789")
    assert sum(own["examples"] for own in classes.values()) == 50
    hits = sum(own["examples"] * own["accuracy"] for own in classes.values())
    assert hits / 50 == pytest.approx(result["top1"])
    mean = sum(own["accuracy"] for own in classes.values()) / 10
    assert result["balanced_accuracy"] == pytest.approx(mean)
    assert "data: train images by class: 0 " in caplog.text
    last = caplog.messages[-1]
    assert f"balanced {mean:.4f}, weakest class " in last
    found = std_keras.evaluate(tmp_path)
    assert found.per_class == classes
    assert found.balanced_accuracy == result["balanced_accuracy"]
    assert found.confusions == result["confusions"]
    assert sum(pair["count"] for pair in found.confusions) <= round(50 * (1 - result["top1"]))
    assert found.calibration_error == pytest.approx(result["calibration_error"])
    assert f"calibration error {result['calibration_error']:.4f} (" in last
    pair = found.confusions[0]
    assert f"most often {pair['label']} taken for {pair['predicted']} ({pair['count']} " in last
    seen = events(tmp_path / "tensorboard", "eval")
    shown = {
        name: seen.Tensors(name)[-1].tensor_proto.string_val[0].decode()
        for name in ("classes", "confusions")
    }
    assert f"{pair['label']} | {pair['predicted']} | {pair['count']} | " in shown["confusions"]
    weakest = min(own["accuracy"] for own in classes.values())
    assert f" | {weakest:.4f} | " in shown["classes"].splitlines()[2]


def test_a_run_of_before_goes_on_with_its_own_parts(tmp_path, monkeypatch):
    """It was begun when the held-out part was chosen whatever the classes."""
    kept = data.load("digits", validation_fraction=0.1, stratified=False)
    now = data.load("digits", validation_fraction=0.1)
    assert (kept.validation.take()[0] != now.validation.take()[0]).any()
    seen = []
    original = data.load

    def spy(*arguments, **options):
        seen.append(original(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(data, "load", spy)
    calls = iter([False, True])
    run = config(**OPTIONS, epochs=1, batch_size=256)
    with as_python(), pytest.raises(Interrupted):
        train(run, model_dir=tmp_path, stop=lambda: next(calls))
    examples = read(tmp_path / "examples.json")
    del examples["stratified"]
    (tmp_path / "examples.json").write_text(json.dumps(examples))
    with as_python():
        train(run, model_dir=tmp_path)
    assert (seen[0].stratified, seen[1].stratified) == (True, False)
    assert (seen[1].validation.take()[0] == kept.validation.take()[0]).all()
    origin = read(tmp_path / "result.json")["splits"]["validation"]["from"]
    assert "whatever their class" in origin
    found = std_keras.evaluate(tmp_path, split="validation")
    assert found.top1 == read(tmp_path / "result.json")["best_validation_top1"]
