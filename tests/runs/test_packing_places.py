"""What is published names no place of a machine."""

from __future__ import annotations

import pytest

from std_keras.config import TrainConfig
from std_keras.runs.packing.places import without_places


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
