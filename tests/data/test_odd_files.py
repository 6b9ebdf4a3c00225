"""Files that are not plain RGB JPEGs, all the way from a folder to a training batch."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from std_keras.data import load, training_batches
from std_keras.data.augmentation import Augmentation, RandAugment, ResizedCrop

SIDE = 24


def save_cmyk(pixels, path):
    Image.fromarray(pixels).convert("CMYK").save(path.with_suffix(".jpg"), quality=95)


def save_grey(pixels, path):
    Image.fromarray(pixels).convert("L").save(path.with_suffix(".png"))


def save_16_bit(pixels, path):
    grey = np.asarray(Image.fromarray(pixels).convert("L")).astype(np.uint16)
    Image.fromarray(grey * 256 + 99).save(path.with_suffix(".png"))


def save_animation(pixels, path):
    frames = [Image.fromarray(pixels), Image.fromarray(255 - pixels)]
    frames[0].save(path.with_suffix(".gif"), save_all=True, append_images=frames[1:])


def save_transparent(pixels, path):
    Image.fromarray(pixels).convert("RGBA").save(path.with_suffix(".png"))


KINDS = (save_cmyk, save_grey, save_16_bit, save_animation, save_transparent)


@pytest.fixture
def odd_folder(tmp_path):
    """One class for each kind of file, each of one grey value: 20, 60, 100, ..."""
    for part in ("train", "val"):
        for i, save in enumerate(KINDS):
            folder = tmp_path / part / f"{i}"
            folder.mkdir(parents=True)
            for j in range(2):
                save(np.full((30, 36, 3), 20 + 40 * i, np.uint8), folder / str(j))
    return tmp_path


@pytest.mark.parametrize("whole_pictures", [False, True])
@pytest.mark.parametrize("cache_gb", [4.0, 0.0])
def test_every_kind_of_file_reaches_a_batch(odd_folder, cache_gb, whole_pictures):
    data = load(
        f"folder:{odd_folder}", image_size=SIDE, cache_gb=cache_gb, whole_pictures=whole_pictures
    )
    crop = ResizedCrop() if whole_pictures else None
    batches = training_batches(
        data.train,
        batch_size=10,
        num_classes=len(KINDS),
        data_seed=0,
        augmentation=Augmentation(resized_crop=crop, horizontal_flip=True),
    )
    batch = next(batches.as_numpy_iterator())
    kinds = batch["targets"].argmax(axis=1)
    assert sorted(kinds) == sorted([*range(len(KINDS))] * 2)
    for image, kind in zip(batch["images"], kinds, strict=True):
        assert image.shape == (SIDE, SIDE, 3)
        assert np.abs(image.astype(int) - (20 + 40 * kind)).max() <= 2


def test_bad_files_among_them_are_skipped_by_name(odd_folder):
    train = odd_folder / "train" / "0"
    (train / "empty.jpg").touch()
    whole = (train / "0.jpg").read_bytes()
    (train / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (train / "text.png").write_text("no image at all")
    for cache_gb in (4.0, 0.0):
        data = load(
            f"folder:{odd_folder}", image_size=SIDE, cache_gb=cache_gb, corrupt_images="skip"
        )
        assert data.train.size == 10
        assert sorted(path.rsplit("/", 1)[1] for path in data.skipped) == [
            "cut.jpg",
            "empty.jpg",
            "text.png",
        ]


def test_a_jpeg_with_spoilt_bytes_does_not_stop_a_batch(odd_folder):
    """As other decoders do, TensorFlow's makes of it what it can; it must not crash or hang."""
    path = odd_folder / "train" / "0" / "0.jpg"
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (30, 36, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path, quality=95)
    contents = bytearray(path.read_bytes())
    middle = len(contents) * 2 // 3
    contents[middle : middle + 8] = bytes(8)
    path.write_bytes(bytes(contents))
    data = load(
        f"folder:{odd_folder}",
        image_size=SIDE,
        cache_gb=0,
        corrupt_images="skip",
        whole_pictures=True,
    )
    recipe = Augmentation(resized_crop=ResizedCrop(), rand_augment=RandAugment())
    batches = training_batches(
        data.train, batch_size=5, num_classes=5, data_seed=0, augmentation=recipe
    )
    for batch in batches.take(4).as_numpy_iterator():
        assert batch["images"].shape == (5, SIDE, SIDE, 3)
