"""Prepared TFDS sets in folders whose names are patterns, or not UTF-8."""

from __future__ import annotations

import os
import shutil

import pytest

from std_keras import data


@pytest.mark.parametrize("name", ["d[1] *", "back\\slash", os.fsdecode(b"caf\xe9")])
@pytest.mark.parametrize("cache_gb", [1.0, 0.0])
def test_the_folder_may_be_called_anything(prepared_tfds, tmp_path, name, cache_gb):
    shutil.copytree(prepared_tfds, tmp_path / name)
    loaded = data.load("tiny_animals", data_dir=str(tmp_path / name), cache_gb=cache_gb)
    images, _ = loaded.train.take()
    assert sorted(images[:, 0, 0, 0]) == list(range(40))
