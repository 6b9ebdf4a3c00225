"""What is held out of train shows the same square of a picture as the test part."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from std_keras.data import load
from std_keras.data.arrays import ArraySource

FRAME, PLAIN = 255, 50  # A white frame round a plain square of half the side.


def picture(number: int) -> np.ndarray:
    pixels = np.full((32, 32, 3), FRAME, np.uint8)
    pixels[6:26, 6:26] = PLAIN
    pixels[..., 1] = 10 * number  # Tells it from all others.
    return pixels


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, tuple[str, str | None]]:
    """The same 24 pictures of two classes, in train and test: name of the data set, data_dir."""
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp("framed")
    rows = {"train": range(16), "test": range(16, 24)}
    arrays = {}
    for part, numbers in rows.items():
        for number in numbers:
            file = folder / "photos" / part / "ab"[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(number)).save(file)
        arrays[f"x_{part}"] = np.stack([picture(number) for number in numbers])
        arrays[f"y_{part}"] = np.array([number % 2 for number in numbers])
    np.savez(folder / "set.npz", **arrays)
    np.savez(folder / "one.npz", images=arrays["x_train"], labels=arrays["y_train"])
    with tfds.core.registered.skip_registration():

        class Framed(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                image, label = tfds.features.Image(), tfds.features.ClassLabel(names=["a", "b"])
                features = tfds.features.FeaturesDict({"image": image, "label": label})
                return tfds.core.DatasetInfo(
                    builder=self, features=features, supervised_keys=("image", "label")
                )

            def _split_generators(self, dl_manager):
                return {part: self._generate_examples(part) for part in rows}

            def _generate_examples(self, part):
                for number in rows[part]:
                    yield number, {"image": picture(number), "label": number % 2}

    Framed(data_dir=str(folder / "tfds")).download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=4, try_download_gcs=False)
    )
    return {
        "folder": (f"folder:{folder / 'photos'}", None),
        "npz": (str(folder / "set.npz"), None),
        "one npz": (str(folder / "one.npz"), None),
        "tfds": ("framed", str(folder / "tfds")),
    }


def has_frame(source) -> bool:
    images, _ = source.take()
    corners = images[:, [0, 0, -1, -1], [0, -1, 0, -1], 0]
    assert (corners == FRAME).all() or (corners == PLAIN).all()
    return bool((corners == FRAME).all())


@pytest.mark.parametrize("whole_pictures", [False, True])
@pytest.mark.parametrize("cache_gb", [4.0, 0.0])
@pytest.mark.parametrize("size", [16, 64])
@pytest.mark.parametrize("kind", ["folder", "npz", "one npz", "tfds"])
def test_the_square_of_a_held_out_picture(places, kind, size, cache_gb, whole_pictures):
    name, data_dir = places[kind]
    options = {
        "data_dir": data_dir,
        "image_size": size,
        "validation_fraction": 0.25,
        "test_fraction": 0.25 if kind == "one npz" else 0.0,
        "cache_gb": cache_gb,
        "whole_pictures": whole_pictures,
    }
    data = load(name, **options, eval_crop_ratio=0.5)
    plain = load(name, **options)
    assert [has_frame(part) for part in (data.train, data.validation, data.test)] == [
        True,
        False,
        False,
    ]
    assert has_frame(plain.validation) and has_frame(plain.test)
    for part in ("train", "validation", "test"):  # The same examples in the same order.
        one, other = (getattr(x, part).take() for x in (data, plain))
        np.testing.assert_array_equal(one[1], other[1])
        np.testing.assert_array_equal(one[0][..., 1], other[0][..., 1])


def test_a_whole_set_as_test(places):
    name, _ = places["one npz"]
    data = load(name, image_size=16, whole_as_test=True, eval_crop_ratio=0.5)
    assert not has_frame(data.test) and has_frame(data.train)


def test_nothing_is_cut_from_pictures_of_the_size_of_the_images(places):
    for kind in ("npz", "folder"):
        data = load(places[kind][0], image_size=32, validation_fraction=0.25, eval_crop_ratio=0.5)
        assert has_frame(data.validation) and has_frame(data.test)
        assert isinstance(data.validation, ArraySource)
