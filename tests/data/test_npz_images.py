"""Images in .npz files: what Keras and MedMNIST publish, and what cannot be used."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from std_keras.data import load
from std_keras.data.class_names import class_names
from std_keras.errors import InputError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(20) % 4


@pytest.fixture
def write(tmp_path):
    def run(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return str(tmp_path / "data.npz")

    return run


def test_as_keras_writes_it(write):
    name = write(
        x_train=IMAGES[:12], y_train=LABELS[:12, None], x_test=IMAGES[12:], y_test=LABELS[12:]
    )
    data = load(name)
    assert (data.label_names, data.image_shape) == (("0", "1", "2", "3"), (8, 8, 3))
    for part, rows in ((data.train, slice(0, 12)), (data.test, slice(12, 20))):
        images, labels = part.take()
        np.testing.assert_array_equal(images, IMAGES[rows])
        np.testing.assert_array_equal(labels, LABELS[rows])
    assert data.origins["test"] == "its arrays x_test and y_test"


def test_as_medmnist_writes_it(write):
    grey = IMAGES[..., 0]
    name = write(
        train_images=grey[:8],
        train_labels=LABELS[:8, None],
        val_images=grey[8:12],
        val_labels=LABELS[8:12, None],
        test_images=grey[12:],
        test_labels=LABELS[12:, None],
        label_names=np.array(["a", "b", "c", "d"]),
    )
    data = load(name)
    assert data.sizes == {"train": 8, "validation": 4, "test": 8}
    assert data.label_names == class_names(name) == ("a", "b", "c", "d")
    np.testing.assert_array_equal(data.test.take()[0][..., 0], grey[12:])


def test_images_alone_are_parted_and_resized(write):
    names = np.array(["dog", "cat", "emu", "ant"])[LABELS]
    name = write(images=IMAGES, labels=names)
    with pytest.raises(InputError, match="test_fraction=0.2"):
        load(name)
    data = load(name, test_fraction=0.2, image_size=4)
    assert data.label_names == ("ant", "cat", "dog", "emu")
    assert (data.image_shape, data.train.size, data.test.size) == ((4, 4, 3), 16, 4)
    assert sorted(data.test.take()[1]) == [0, 1, 2, 3]
    whole = load(name, whole_as_test=True)
    np.testing.assert_array_equal([whole.label_names[i] for i in whole.test.take()[1]], names)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": IMAGES}, "has the arrays a; it must have x_train"),
        ({"images": IMAGES / 255, "labels": LABELS}, "are float64; store their pixels"),
        ({"images": IMAGES[:, :, :, :2], "labels": LABELS}, r"shape \(20, 8, 8, 2\)"),
        ({"images": IMAGES[:, :4], "labels": LABELS}, "4 x 8 pixels are not square"),
        ({"images": IMAGES, "labels": LABELS[:3]}, "of different lengths"),
        ({"images": IMAGES, "labels": LABELS / 2}, "labels are float64"),
        ({"images": IMAGES, "labels": LABELS - 1}, "label -1 is below 0"),
        ({"images": IMAGES, "labels": LABELS * 10**6}, "label 3000000 is larger"),
        ({"images": IMAGES, "labels": np.eye(20)}, r"shape \(20, 20\)"),
        ({"images": IMAGES, "labels": LABELS, "class_names": np.array(["a"])}, "1 names of"),
        ({"images": IMAGES, "labels": np.array([object()] * 20)}, "is not an .npz file of plain"),
    ],
)
def test_what_cannot_be_used_gets_a_sentence(write, arrays, words):
    with pytest.raises(InputError, match=words):
        load(write(**arrays), test_fraction=0.2)


def test_hostile_files(tmp_path):
    path = tmp_path / "data.npz"
    with pytest.raises(InputError, match="cannot be read"):
        load(str(path))
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="is not an .npz file"):
        load(str(path))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (2**40, 8, 8, 3)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", header.getvalue())
    with pytest.raises(InputError, match="declares an array of shape"):
        load(str(path))
