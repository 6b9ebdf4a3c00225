"""What is published names no place of a machine."""

from __future__ import annotations

import pytest

from std_keras.config import TrainConfig
from std_keras.runs.packing.places import result_without_places, without_places


@pytest.mark.parametrize(
    ("typed", "published"),
    [
        ("folder:/home/me/photos", "folder:photos"),
        ("folder:/home/me/photos/", "folder:photos"),
        ("parquet:~/data/all.parquet", "parquet:all.parquet"),
        ("C:\\Users\\me\\all.npz", "all.npz"),
        ("folder:data/photos", "folder:data/photos"),
        ("cifar100", "cifar100"),
    ],
)
def test_a_data_set(typed, published):
    assert without_places(TrainConfig(dataset=typed)).data.dataset == published


def test_everything_else_that_has_a_place():
    config = TrainConfig(
        distillation="hard",
        teacher=("/home/me/a,b/run,site=last,size=96", "hf-hub:timm/x", "std_keras:y,site=last"),
        teacher_cache="~/cache",
        decoded_dir="/scratch/me/decoded",
        initialize_from="hf://me/model",
    )
    shown = without_places(config)
    assert shown.flat() == {
        **config.flat(),
        "teacher": ("run,site=last,size=96", "hf-hub:timm/x", "std_keras:y,site=last"),
        "teacher_cache": "cache",
        "decoded_dir": "decoded",
    }
    assert without_places(shown) == shown


@pytest.mark.parametrize(
    ("typed", "published"),
    [
        ("/home/me/run,labels=/home/me/names.txt", "run,labels=names.txt"),
        ("run.onnx,labels=~/names.txt,size=3", "run.onnx,labels=names.txt,size=3"),
        ("std_keras:y,labels=/home/me/names.txt", "std_keras:y,labels=names.txt"),
        ("hf://me/model,labels=/home/me/names.txt", "hf://me/model,labels=names.txt"),
        ("/home/me/a,lr=1/run,labels=own", "run,labels=own"),
        ("/home/me/a\nb/run", "run"),
    ],
)
def test_a_teacher(typed, published):
    config = TrainConfig(distillation="hard", teacher=(typed,))
    assert without_places(config).distillation.teachers == (published,)


def test_what_teach_was_asked_for():
    asked = {"backbone": "/home/me/net.keras,size=64", "dataset": "csv:/home/me/a.csv", "seed": 1}
    result = {"top1": 0.5, "taught": {"asked": asked, "features": 8}}
    assert result_without_places(result) == {
        "top1": 0.5,
        "taught": {
            "asked": {"backbone": "net.keras,size=64", "dataset": "csv:a.csv", "seed": 1},
            "features": 8,
        },
    }
    assert result_without_places({"top1": 0.5}) == {"top1": 0.5}
