"""Pictures that are gone while a run streams them, for its steps or for an evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from std_keras.errors import InputError
from std_keras.training import train
from tests.training.tiny import as_python, config


@pytest.mark.parametrize("part", ["train", "val"])
def test_pictures_that_vanish_while_a_run_trains_are_named(tmp_path, part):
    rng = np.random.default_rng(0)
    for name in ("train", "val"):
        for index, label in enumerate("ab" * 8):
            file = tmp_path / "photos" / name / label / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(file)
    streamed = config(
        dataset=f"folder:{tmp_path / 'photos'}",
        image_size=8,
        batch_size=4,
        epochs=50,
        cache_gb=0.0,
        decoded_dir="none",
        max_train_examples=0,
        max_test_examples=0,
    )

    def stop():
        if (tmp_path / "run" / "metrics.jsonl").exists():  # Steps are taken.
            for file in (tmp_path / "photos" / part).rglob("*.png"):
                file.unlink()
        return False

    expected = pytest.raises(InputError, match=r"cannot be decoded, such as .*not there any more")
    with expected, as_python():
        train(streamed, model_dir=tmp_path / "run", stop=stop)
