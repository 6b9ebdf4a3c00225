"""A clock that is set back or forth changes no cadence and no rate."""

from __future__ import annotations

import ast
import json
import time

import pytest

from std_keras.training import train
from tests.training.tiny import config

WALL_CLOCKS = {("time", "time"), ("time", "time_ns"), ("time", "localtime"), ("time", "gmtime")}
WALL_CLOCKS |= {("datetime", name) for name in ("now", "today", "utcnow")}
WALL_CLOCKS |= {("date", "today"), ("tf", "timestamp")}


def uses(source):
    """Calls of wall clocks, as (object, function)."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, (ast.Name, ast.Attribute)):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            found.add((owner, node.attr))
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime"):
            found |= {(node.module, alias.name) for alias in node.names}
    return found & WALL_CLOCKS


def test_no_wall_clock_is_read(root):
    found = {
        str(file.relative_to(root / "std_keras")): uses(file.read_text(encoding="utf-8"))
        for file in (root / "std_keras").rglob("*.py")
    }
    assert {name for name, clocks in found.items() if clocks} == set()
    assert uses("import time\nx = time.time()") == {("time", "time")}
    assert uses("import tensorflow as tf\nx = tf.timestamp()") == {("tf", "timestamp")}
    assert uses("import datetime as d\nx = d.datetime.now()") == {("datetime", "now")}


@pytest.mark.filterwarnings("ignore:Even though the .*run_functions_eagerly")
@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_clocks_that_jump_at_every_look(eagerly, tmp_path, monkeypatch, jump):
    now, real = [1e9], time.time

    def jumped():
        now[0] += jump
        return real() + now[0]

    monkeypatch.setattr(time, "time", jumped)
    options = config(epochs=2, log_every_steps=1, checkpoint_every_steps=2, keep_checkpoints=9)
    result = train(options, model_dir=tmp_path).result
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    logged = [line for line in lines if "loss/total" in line]
    assert [line["step"] for line in logged] == [1, 2, 3, 4, 5, 6]
    assert all(0 <= line["data_wait"] <= 1 for line in logged)
    assert all(0 < line["images_per_second"] < 1e6 for line in logged)
    assert 0 < result["train_seconds"] < 600
    saved = {int(f.stem.rpartition("-")[2]) for f in tmp_path.glob("checkpoints/ckpt-*.index")}
    assert saved == {2, 4, 6}
