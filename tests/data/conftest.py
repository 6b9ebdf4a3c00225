"""Small data sets on disk: a folder of images, and a prepared TFDS set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """train/ with 3 and val/ with 2 images of each of ant, bee, cow; of several sizes."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 3), ("val", 2)):
        for name in ("cow", "ant", "bee"):
            directory = tmp_path / "images" / part / name
            directory.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (20 + i, 30 - i, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(directory / f"{i}.{('JPG', 'png', 'jpeg')[i]}")
    return tmp_path / "images"


@pytest.fixture(scope="session")
def prepared_tfds(tmp_path_factory) -> Path:
    """A TFDS directory with `tiny_animals/1.0.0`: 40 train images in 4 files, 11 test images."""
    import tensorflow_datasets as tfds

    with tfds.core.registered.skip_registration():

        class TinyAnimals(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                return tfds.core.DatasetInfo(
                    builder=self,
                    features=tfds.features.FeaturesDict(
                        {
                            "image": tfds.features.Image(shape=(6, 6, 3)),
                            "label": tfds.features.ClassLabel(names=["ant", "bee", "cow"]),
                            "boxes": tfds.features.Sequence(tfds.features.BBoxFeature()),
                        }
                    ),
                    supervised_keys=("image", "label"),
                )

            def _split_generators(self, dl_manager):
                return {
                    "train": self._generate_examples(0, 40),
                    "test": self._generate_examples(40, 51),
                }

            def _generate_examples(self, first, end):
                for i in range(first, end):
                    image = np.full((6, 6, 3), (i, 0, 77), np.uint8)
                    yield i, {"image": image, "label": i % 3, "boxes": []}

    directory = tmp_path_factory.mktemp("tfds")
    builder = TinyAnimals(data_dir=str(directory))
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=4, try_download_gcs=False)
    )
    return directory


@pytest.fixture
def own_tfds(prepared_tfds: Path, tmp_path: Path):
    """A copy to damage: (its directory, a function that edits one of its JSON files)."""
    directory = tmp_path / "tfds"
    shutil.copytree(prepared_tfds, directory)

    def edit(file: str, change) -> None:
        path = directory / "tiny_animals" / "1.0.0" / file
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return directory, edit
