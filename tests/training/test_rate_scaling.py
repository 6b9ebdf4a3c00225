"""The learning rate that grows with the batch."""

from __future__ import annotations

import json
import logging
import math

import pytest

from std_keras.config import TrainConfig
from std_keras.runs.run_directory import RunDirectory
from std_keras.training import build, start, train
from tests.training.tiny import config


@pytest.mark.parametrize(
    ("batch_size", "reference", "factor"),
    [(256, 0, 1), (256, 256, 1), (1024, 256, 4), (32, 64, 0.5)],
)
def test_rates_are_multiplied_by_the_ratio_of_the_batches(batch_size, reference, factor):
    made = TrainConfig(
        batch_size=batch_size,
        learning_rate_batch_size=reference,
        learning_rate=0.1,
        minimum_learning_rate=0.01,
    )
    assert made.optimization.applied_learning_rates() == pytest.approx(
        (0.1 * factor, 0.01 * factor)
    )


@pytest.mark.filterwarnings("ignore:Even though the .*run_functions_eagerly")
def test_what_is_applied_is_said_and_logged_with_every_step(eagerly, tmp_path, caplog):
    options = config(
        epochs=1,
        warmup_epochs=0.0,
        log_every_steps=1,
        learning_rate=0.01,
        minimum_learning_rate=0.001,
        learning_rate_batch_size=16,
    )
    with caplog.at_level(logging.INFO, logger="std_keras"):
        train(options, model_dir=tmp_path)
    assert "learning rate 0.02: learning_rate=0.01 x 32/16 images" in caplog.text
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    rates = [r["learning_rate"] for r in map(json.loads, lines) if "learning_rate" in r]
    cosine = [0.5 * (1 + math.cos(math.pi * step / 3)) for step in (0, 1, 2)]
    assert rates == pytest.approx([0.002 + 0.018 * c for c in cosine], rel=1e-5)
    kept = json.loads((tmp_path / "config.json").read_text())
    assert (kept["learning_rate"], kept["learning_rate_batch_size"]) == (0.01, 16)


def test_the_rates_of_mine_stay_as_they_are(tmp_path):
    options = config(
        distillation="hard",
        teacher=("runs/teacher",),
        mine_weight=0.1,
        mine_learning_rate=3e-4,
        weight_decay=0.05,
        learning_rate_batch_size=8,
    )
    state = start.create_state(options, build.load_data(options), 0.1, RunDirectory(tmp_path))
    assert float(state.critic_optimizer.learning_rate) == pytest.approx(3e-4)
