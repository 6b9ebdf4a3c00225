"""The classify program, as someone with only the file uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from std_keras import exporting, models
from std_keras.errors import InputError, Interrupted
from std_keras.exporting.classifying import ModelCard, describe
from std_keras.programs.classify import main
from std_keras.programs.flags import HelpRequested
from std_keras.programs.program import StopRequest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, and pictures: two in the folder, one below, and what does not count."""
    folder = tmp_path_factory.mktemp("classify")
    keras.utils.set_random_seed(4)
    model = models.create(
        "mixer_s16", input_shape=(8, 8, 3), num_classes=3, patch_size=4, width=16, depth=1
    )
    kernel = model.get_layer("classification").kernel
    kernel.assign(np.random.default_rng(4).normal(size=kernel.shape))
    card = ModelCard("mixer_s16", "0", ("red", "green\x1b[2J", "größer"), image_size=8, channels=3)
    content = exporting.convert(
        exporting.inference_model(model, head="classification"), quantization="float32"
    )
    (folder / "model.tflite").write_bytes(describe(content, card))
    for name, color in (("b.png", "red"), ("a.jpg", "lime"), ("below/c.webp", "blue")):
        (folder / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 30), color).save(folder / "pictures" / name)
    (folder / "pictures" / "notes.txt").write_text("not a picture")
    (folder / "pictures" / ".hidden.png").write_text("not a picture")
    (folder / "bad.png").write_text("not a picture")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture
def classify(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> str:
        main(["--model=model.tflite", *arguments], StopRequest())
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", ["pipe.png", "pip*.png"])
def test_a_pipe_is_not_waited_for(tmp_path, classify, name):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match=r"pipe\.png is a pipe, a device or a folder"):
        classify(f"{tmp_path}/{name}")


def test_without_tensorflow_and_in_a_second(folder, root):
    """With only what the program may need; a process that finds nothing else."""
    script = """
import sys, runpy
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "keras", "tqdm", "sklearn", "tensorflow_datasets"):
            raise ImportError(f"{name} is not there")
sys.meta_path.insert(0, Refuse())
sys.argv = ["classify", "--model=model.tflite", "--json", "pictures/a.jpg"]
runpy.run_module("std_keras.classify", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={"PYTHONPATH": str(root), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert json.loads(done.stdout)["image"] == "pictures/a.jpg"


def test_the_printed_answer(classify):
    lines = classify("pictures/b.png", "--top_k=2").splitlines()
    assert lines[0] == "pictures/b.png"
    assert len(lines) == 3
    for line in lines[1:]:
        percent, label = line.split("%")
        assert 0 < float(percent) <= 100
        assert label.strip() in ("red", "green\N{REPLACEMENT CHARACTER}[2J", "größer")


def test_json_has_one_line_for_each_picture(classify):
    lines = [json.loads(line) for line in classify("--json", "pictures").splitlines()]
    assert [x["image"] for x in lines] == [
        "pictures/a.jpg",
        "pictures/b.png",
        "pictures/below/c.webp",
    ]
    for line in lines:
        predictions = line["predictions"]
        assert sum(p["probability"] for p in predictions) == pytest.approx(1)
        assert {p["index"]: p["label"] for p in predictions} == {
            0: "red",
            1: "green\x1b[2J",
            2: "größer",
        }
        logits = [p["logit"] for p in predictions]
        assert logits == sorted(logits, reverse=True)


def test_patterns(classify):
    out = classify("--json", "pictures/*.png", "pictures/**/*.webp")
    images = [json.loads(line)["image"] for line in out.splitlines()]
    assert images == ["pictures/b.png", "pictures/below/c.webp"]


def test_unreadable_pictures_do_not_hide_the_others(classify, capsys):
    with pytest.raises(InputError, match="^bad.png is not an image that can be read$"):
        classify("--json", "bad.png", "pictures/a.jpg")
    assert json.loads(capsys.readouterr().out)["image"] == "pictures/a.jpg"
    with pytest.raises(InputError, match="^2 of 3 pictures .*bad.png is.*; nope.png cannot"):
        classify("--json", "bad.png", "pictures/a.jpg", "nope.png")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "IMAGE is missing"),
        (["empty"], "the folder empty has no pictures"),
        (["nope/*.png"], "matches no file"),
        (["pictures", "--top_k=0"], "--top_k=0 "),
        (["pictures", "--threads=0"], "--threads=0 "),
        (["pictures", "--threads=99999"], "--threads=99999 must be between 1 and 256"),
        (["pictures", "--top=3"], "--top is not a flag"),
        (["pictures", "--model=bad.png"], "bad.png is not a TFLite file"),
        (["pictures", "--model=nope.tflite"], "nope.tflite cannot be read: No such file"),
        (["pictures", "--model=empty"], "empty is a folder; name a .tflite file"),
    ],
)
def test_bad_input(classify, arguments, said):
    with pytest.raises(InputError, match=said):
        classify(*arguments)


def test_a_signal_stops_it_between_pictures(folder, capsys):
    stop = StopRequest()
    stop.signal = 15
    with pytest.raises(Interrupted):
        main([f"--model={folder / 'model.tflite'}", str(folder / "pictures")], stop)
    assert capsys.readouterr().out == ""


def test_help_and_exit_code(folder, run_program):
    with pytest.raises(HelpRequested, match="--name=value ... IMAGE ..."):
        main(["--help"], StopRequest())
    done = run_program("classify", "--model=model.tflite", "bad.png", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: bad.png is not an image that can be read\n"
