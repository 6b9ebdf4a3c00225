"""Features computed in one pass: those of the network, of the pixels that evaluation sees."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from PIL import Image

from std_keras.data import load
from std_keras.errors import Interrupted
from std_keras.teachers.features import BATCH_SIZE, compute_features


@pytest.fixture
def network():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 3))
    values = keras.layers.Conv2D(5, 3, use_bias=False)(inputs)
    values = keras.layers.BatchNormalization()(values)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(values))
    model.layers[2].set_weights([np.array([1, 2, 3, 4, 5], np.float32) + i for i in range(4)])
    return model


@pytest.fixture
def photographs(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("val", 5)):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                smooth = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
                picture = smooth.resize((200, 120 + 4 * i), Image.Resampling.BICUBIC)
                picture.save(tmp_path / part / name / f"{i:02}.png")
    # The copy of a picture.
    pixels = (tmp_path / "train/a/00.png").read_bytes()
    (tmp_path / "train/b/copy.png").write_bytes(pixels)
    return f"folder:{tmp_path}"


@pytest.mark.parametrize("whole_pictures", [True, False])
def test_features_are_those_of_the_network(network, photographs, whole_pictures):
    data = load(photographs, image_size=8, whole_pictures=whole_pictures)
    assert data.train.size > BATCH_SIZE
    found = compute_features(network, data.train)
    images, labels = data.train.take()
    np.testing.assert_array_equal(found.labels, labels)
    expected = network.predict(images.astype(np.float32), verbose=0)
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-3)
    same = found.identities[:, np.newaxis] == found.identities
    assert np.argwhere(np.triu(same, 1)).tolist() == [[0, 80]]  # The copy.


def test_a_central_crop_is_what_evaluation_sees(network, photographs):
    # As training pictures, which are whole, and as test pictures, which are cut when they are read.
    train = load(f"{photographs}/val", image_size=8, whole_pictures=True, whole_as_test=True).train
    test = load(photographs, image_size=8, eval_crop_ratio=0.5).test
    plain = load(photographs, image_size=8).test
    found = compute_features(network, train, crop_ratio=0.5).values
    expected = compute_features(network, test).values
    far = compute_features(network, plain).values
    # The edges of the square may lie a pixel apart.
    assert np.abs(found - expected).mean() < 0.2 * np.abs(far - expected).mean()


def test_a_stop_ends_it(network, photographs):
    data = load(photographs, image_size=8)
    with pytest.raises(Interrupted):
        compute_features(network, data.train, stop=lambda: True)
