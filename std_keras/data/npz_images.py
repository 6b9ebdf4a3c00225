"""Images in a NumPy file, `FILE.npz`, as Keras, MedMNIST and many papers publish them."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from std_keras.data.arrays import ArraySource
from std_keras.data.images import resize_and_crop
from std_keras.data.label_names import in_order, numbered, usable
from std_keras.data.loaded import Loaded, TestPart
from std_keras.data.source import IndexedSource, Source
from std_keras.errors import InputError
from std_keras.files.archive import HostileArchiveError, check_arrays
from std_keras.files.paths import user_path
from std_keras.files.texts import normalized
from std_keras.files.whole_file import UnreadableWholeError, check_is_file

SUFFIX = ".npz"
# Names of the arrays of a part: its images, its labels.
_PARTS = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels")),
    "validation": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
_NAMES = ("label_names", "class_names")
_RESIZED_AT_ONCE = 256


class ResizedArrays(ArraySource):
    """Squares in memory, made from pictures of another size, which are read again for others.

    Args:
        images: the squares (n, S, S, C) uint8.
        labels: (n,) int32.
        pictures: reads the pictures (n, H, W, C) uint8.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, *, pictures: Callable[[], np.ndarray]
    ) -> None:
        super().__init__(images, labels)
        self._whole = pictures

    def subset(self, rows: np.ndarray) -> ResizedArrays:
        images, labels = self._images.numpy()[rows], self.labels()[rows]
        return ResizedArrays(images, labels, pictures=lambda: self._whole()[rows])

    def with_crop_ratio(self, ratio: float) -> ResizedArrays:
        squares = _squares(self._whole(), self.image_shape[0], crop_ratio=ratio)
        return ResizedArrays(squares, self.labels(), pictures=self._whole)


def load_npz(
    file: str,
    *,
    image_size: int | None,
    eval_crop_ratio: float = 1.0,
    test_part: TestPart,
) -> Loaded:
    """Arrays of images (n, H, W[, C]) uint8 and labels (n,) or (n, 1), whole numbers or names.

    Parts are `x_train`, `y_train`, `x_test`, `y_test` (and `x_val`, `y_val`), or `train_images`,
    `train_labels` and so on, or `images` and `labels` alone, of which `test_part` cuts the test
    part; without a test part, the validation part is it. `label_names` or `class_names` names the
    classes 0, 1, ...; else they are named by their numbers.

    Raises:
        InputError: for a file that cannot be read, lacks arrays, or has others than these.
    """
    flag = f"dataset={file}"
    arrays = _read(file, flag=flag)
    parts, found_in, origins = {}, {}, {}
    for part, choices in _PARTS.items():
        found = next((pair for pair in choices if set(pair) <= set(arrays)), None)
        if found is not None:
            found_in[part] = found[0]
            parts[part] = tuple(arrays[name] for name in found)
            origins[part] = f"its arrays {' and '.join(found)}"
    if "train" not in parts:
        raise InputError(
            f"{flag}: has the arrays {', '.join(arrays) or 'none'}; it must have x_train and "
            "y_train, train_images and train_labels, or images and labels"
        )
    names = _label_names(arrays, [labels for _, labels in parts.values()], flag=flag)
    sources: dict[str, IndexedSource] = {}
    for part, (images, labels) in parts.items():
        pictures = _pictures(images, image_size, what=f"{flag}: {origins[part]}")
        numbers = _numbers(labels, names, flag=flag)
        if len(numbers) != len(pictures):
            raise InputError(f"{flag}: {origins[part]} are of different lengths")
        if image_size is None or pictures.shape[1:3] == (image_size, image_size):
            sources[part] = ArraySource(pictures, numbers)
            continue

        def again(array: str = found_in[part]) -> np.ndarray:
            return _with_channels(_read(file, flag=flag)[array])

        ratio = 1.0 if part == "train" else eval_crop_ratio
        squares = _squares(pictures, image_size, crop_ratio=ratio)
        sources[part] = ResizedArrays(squares, numbers, pictures=again)
    if len({source.image_shape for source in sources.values()}) > 1:
        raise InputError(f"{flag}: its parts have images of different shapes; use `image_size`")
    train = sources["train"]
    test: Source | None = sources.get("test")
    validation = sources.get("validation")
    if test is None and validation is not None:
        test, validation = validation, None
        origins["test"] = origins.pop("validation")
    if test is not None:
        test_part.refuse_other(flag, origins["test"])
    else:
        test_part.require(flag, "has no test arrays")
        whole = origins["train"]
        test, origins["test"] = train, f"{whole}, all of them"
        if not test_part.whole:
            train, test = train.split(
                fraction=test_part.fraction, seed=test_part.seed, flag="test_fraction"
            )
            origins |= {"train": f"the rest of {whole}", "test": test_part.origin(whole)}
        if eval_crop_ratio != 1.0:
            test = test.with_crop_ratio(eval_crop_ratio)
    return Loaded(names, train, test, origins, validation=validation)


def npz_label_names(file: str) -> tuple[str, ...]:
    """The names that `load_npz` gives to the classes.

    Raises:
        InputError: for a file that cannot be read or has no labels.
    """
    flag = f"dataset={file}"
    arrays = _read(file, flag=flag)
    labels = [arrays[n] for pairs in _PARTS.values() for _, n in pairs if n in arrays]
    if not labels:
        raise InputError(f"{flag}: has no array of labels, only {', '.join(arrays)}")
    return _label_names(arrays, labels, flag=flag)


def _read(file: str, *, flag: str) -> dict[str, np.ndarray]:
    path = user_path(file)
    try:
        check_is_file(path)
        check_arrays(path)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (HostileArchiveError, UnreadableWholeError) as error:
        raise InputError(f"{flag} {error}") from error
    except OSError as error:
        raise InputError(f"{flag} cannot be read: {error.strerror or error}") from error
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError, NotImplementedError) as error:
        first = (str(error).splitlines() or ["damaged"])[0]
        raise InputError(f"{flag} is not an .npz file of plain arrays: {first[:200]}") from error


def _label_names(
    arrays: dict[str, np.ndarray], labels: list[np.ndarray], *, flag: str
) -> tuple[str, ...]:
    flat = []
    for array in labels:
        if array.ndim not in (1, 2) or array.shape[1:] not in ((), (1,)):
            raise InputError(
                f"{flag}: an array of labels has the shape {array.shape}; it must be (n,) or "
                "(n, 1), one class for each image"
            )
        array = _text(array, flag=flag)
        if array.dtype.kind not in "iuU":
            raise InputError(f"{flag}: labels are {array.dtype}, not whole numbers or names")
        flat.append(array.reshape(-1))
    together = np.concatenate(flat)
    if not len(together):
        raise InputError(f"{flag}: has no labels")
    if together.dtype.kind == "U":
        what = f"{flag}: an image has the label"
        return in_order(usable(name, what=what) for name in np.unique(together).tolist())
    named = next((arrays[name] for name in _NAMES if name in arrays), None)
    highest, lowest = int(together.max()), int(together.min())
    if lowest < 0:
        raise InputError(f"{flag}: the label {lowest} is below 0")
    if named is None:
        if highest >= len(together):
            raise InputError(
                f"{flag}: the label {highest} is larger than the number of images; number the "
                "classes 0, 1, 2, ..."
            )
        return tuple(str(number) for number in range(highest + 1))
    names = numbered(_text(named, flag=flag).reshape(-1).tolist(), flag=flag)
    if highest >= len(names):
        raise InputError(f"{flag}: has {len(names)} names of classes, but the label {highest}")
    return names


def _text(array: np.ndarray, *, flag: str) -> np.ndarray:
    """Names that are stored as bytes, as text."""
    if array.dtype.kind != "S":
        return array
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{flag}: has names of classes that are not UTF-8") from error


def _numbers(labels: np.ndarray, names: tuple[str, ...], *, flag: str) -> np.ndarray:
    flat = _text(labels.reshape(-1), flag=flag)
    if flat.dtype.kind != "U":
        return flat.astype(np.int32)
    numbers = {name: number for number, name in enumerate(names)}
    found, rows = np.unique(flat, return_inverse=True)
    return np.array([numbers[name] for name in normalized(found.tolist())], np.int32)[rows]


def _pictures(images: np.ndarray, image_size: int | None, *, what: str) -> np.ndarray:
    """The images (n, H, W, C), if they can be used."""
    images = _with_channels(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not images.size:
        raise InputError(
            f"{what}: images have the shape {images.shape}; it must be (n, height, width) or "
            "(n, height, width, 1 or 3)"
        )
    if images.dtype != np.uint8:
        raise InputError(
            f"{what}: images are {images.dtype}; store their pixels, 0 to 255, as uint8"
        )
    if image_size is None and images.shape[1] != images.shape[2]:
        raise InputError(
            f"{what}: images of {images.shape[1]} x {images.shape[2]} pixels are "
            "not square; `image_size` is needed"
        )
    return images


def _with_channels(images: np.ndarray) -> np.ndarray:
    return images[..., None] if images.ndim == 3 else images


def _squares(pictures: np.ndarray, image_size: int, *, crop_ratio: float) -> np.ndarray:
    """The centres (n, S, S, C) of pictures (n, H, W, C), see `images.resize_and_crop`."""
    rows = range(0, len(pictures), _RESIZED_AT_ONCE)
    squares = (
        resize_and_crop(
            tf.constant(pictures[row : row + _RESIZED_AT_ONCE]), image_size, crop_ratio=crop_ratio
        ).numpy()
        for row in rows
    )
    return np.concatenate(list(squares))


def is_npz(name: str) -> bool:
    """Whether a data set's name is that of such a file."""
    return os.path.splitext(name)[1] == SUFFIX
