"""A run directory in Python."""

from __future__ import annotations

import json
import sys

import keras
import numpy as np
import pytest

from std_keras import Run, models
from std_keras.config import TrainConfig
from std_keras.errors import InputError
from std_keras.runs import pretrained
from std_keras.runs.run_directory import RunDirectory
from tests.results import result


@pytest.fixture
def directory(tmp_path):
    """A run that was started."""
    keras.utils.set_random_seed(3)
    model = models.create_student(
        "mixer_s16",
        input_shape=(8, 8, 1),
        num_classes=3,
        teacher_sites=["last"],
        patch_size=4,
        width=8,
        depth=2,
    )
    kernel = model.get_layer("classification").kernel  # Starts at zero.
    kernel.assign(np.random.default_rng(3).normal(size=kernel.shape))
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    directory.write_start(
        TrainConfig(dataset="digits", epochs=7),
        label_names=("a", "b", "c"),
        architecture=model.to_json(),
    )
    model.save(directory.model_file)
    return directory


def test_an_unfinished_run(directory):
    run = Run(directory.path)
    assert run.result is None
    assert run.config.optimization.epochs == 7
    assert run.labels == ("a", "b", "c")
    assert run.metrics() == []
    assert repr(run) == f"Run('{directory.path}': mixer_s16 on digits, not finished)"


def test_a_finished_run(directory):
    directory.write_result(result(top1=0.25))
    run = Run(str(directory.path))
    assert run.result == result(top1=0.25)
    assert repr(run).endswith("mixer_s16 on digits, test top-1 0.2500)")


def test_weights_from_elsewhere_have_no_accuracy(directory):
    directory.write_result(result(top1=None))
    assert repr(Run(directory.path)).endswith("weights from elsewhere)")


def test_a_run_is_a_path(directory):
    run = Run(directory.path)
    assert Run(run).path == directory.path
    assert RunDirectory(run).read_labels() == run.labels
    assert f"{run},site=last" == f"{directory.path},site=last"


def test_a_place_without_a_run(tmp_path):
    run = Run(tmp_path / "nothing")
    assert "not started" in repr(run)
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        _ = run.config


def test_weights_by_name():
    name = pretrained.names()[0]
    run = Run(f"std_keras:{name}")
    assert run.path == pretrained.folder() / name
    assert run.result["top1"] > 0.5
    with pytest.raises(InputError, match="model_dir=std_keras:nobody: no weights of that name"):
        Run("std_keras:nobody")


@pytest.fixture
def lines(directory):
    lines = [
        {"step": 5, "epoch": 0.5, "split": "train", "loss/total": 2.0},
        {"step": 10, "epoch": 1.0, "split": "eval", "raw/classification/top1": 0.5},
    ]
    directory.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return lines


def test_metrics(directory, lines):
    run = Run(directory.path)
    assert run.metrics() == lines
    assert run.metrics("eval") == lines[1:]
    with open(directory.metrics_file, "a") as file:
        file.write('{"step": 15, "epo')  # Just being written.
    assert run.metrics() == lines
    directory.metrics_file.write_text('{"step": \n' + json.dumps(lines[0]) + "\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl is damaged"):
        run.metrics()


def test_metrics_as_a_table(directory, lines, monkeypatch):
    class Pandas:
        DataFrame = staticmethod(list)

    monkeypatch.setitem(sys.modules, "pandas", Pandas)
    assert Run(directory.path).metrics_frame("train") == lines[:1]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pip install pandas"):
        Run(directory.path).metrics_frame()


def test_the_model_takes_bytes_and_gives_the_logits_of_a_head(directory):
    run = Run(directory.path)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), dtype=np.uint8)
    average, one = run.model()(pixels), run.model(head="classification")(pixels)
    assert average.shape == one.shape == (2, 3)
    heads = models.heads_model(run.model())(pixels.astype(np.float32))
    np.testing.assert_allclose(average, heads["average"], atol=1e-5)
    np.testing.assert_allclose(one, heads["classification"], atol=1e-5)
    assert np.abs(np.asarray(average) - one).max() > 1e-3
    with pytest.raises(InputError, match="^head=tail: .*use classification"):
        run.model(head="tail")
