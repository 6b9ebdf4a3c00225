"""Commands on folders whose names are not UTF-8, with a terminal that shows ASCII only."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from std_keras.config import TrainConfig
from std_keras.exporting.classifying import read_description
from std_keras.training import train
from tests.programs.conftest import eager_functions

# TensorFlow says of every input pipeline that it is not run as Python.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config")

LATIN1 = os.fsdecode(b"caf\xe9")
PHOTOS = f"photos {LATIN1}"
CLASSES = ("caf\u00e9", "\u6570")  # The second is Chinese, "number".


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run on pictures, both in folders with such names."""
    place = tmp_path_factory.mktemp("odd") / LATIN1
    random = np.random.default_rng(0)
    for part in ("train", "val"):
        for name in CLASSES:
            for number in range(4):
                file = place / PHOTOS / part / name / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                picture = Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8))
                with file.open("wb") as content:  # Pillow's own open encodes the name strictly.
                    picture.save(content, "png")
    config = TrainConfig(
        dataset=f"folder:{place / PHOTOS}",
        image_size=8,
        patch_size=4,
        width=8,
        depth=2,
        batch_size=4,
        epochs=1,
        decoded_dir="none",
    )
    with eager_functions():
        train(config, model_dir=place / LATIN1)
    return place / LATIN1


def test_export_and_classify(run_command, run, tmp_path, eagerly):
    out = tmp_path / LATIN1
    flags = (f"--model_dir={run}", f"--output_dir={out}", "--quantization=float16")
    code, _, said = run_command("export", *flags, "--verify_examples=4")
    assert code == 0, said
    file = next(out.glob("*.tflite"))
    card = read_description(file.read_bytes(), name="it")
    assert card.labels == CLASSES
    assert card.dataset == f"folder:{run.parent / PHOTOS}".replace(LATIN1, r"caf\udce9")
    picture = run.parent / PHOTOS / "val" / CLASSES[0] / "0.png"
    code, answer, said = run_command("classify", f"--model={file}", "--json", picture)
    assert code == 0, said
    assert {p["label"] for p in json.loads(answer)["predictions"]} == set(CLASSES)


def test_pages(run_command, run, tmp_path, eagerly):
    out = tmp_path / LATIN1
    for command in (("report", run), ("analyze", "weights", f"--model_dir={run}")):
        code, _, said = run_command(*command, f"--output_dir={out}")
        assert code == 0, said
    page = (out / "report.html").read_text(encoding="utf-8")
    assert r"caf\udce9" in page and all(name in page for name in CLASSES)


def test_pack(run_command, run, tmp_path, eagerly):
    flags = ("--name=small", "--license=MIT", "--max_accuracy_drop=1")
    code, _, said = run_command("pack", run, *flags, f"--output_dir={tmp_path / LATIN1}")
    assert code == 0, said
    card = (tmp_path / LATIN1 / "small" / "README.md").read_text(encoding="utf-8")
    assert r"folder:photos caf\udce9" in card


def test_pack_where_the_images_are_elsewhere(run_command, run, tmp_path, eagerly):
    copy, photos = tmp_path / "run", tmp_path / "photos"
    shutil.copytree(run, copy)
    shutil.copytree(run.parent / PHOTOS, photos)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "dataset": "folder:/no/photos"}))
    flags = ("--name=small", "--license=MIT", "--max_accuracy_drop=1", f"--output_dir={tmp_path}")
    code, _, said = run_command("pack", copy, *flags)
    assert code == 2 and "say where the images are with --dataset=folder:PATH" in said
    code, _, said = run_command("pack", copy, *flags, f"--dataset=folder:{photos}")
    assert code == 0, said
    assert json.loads((tmp_path / "small" / "result.json").read_text())["packed"]
