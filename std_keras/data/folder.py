"""One's own images: a folder per class, under train/ and val/ or in one folder alone."""

from __future__ import annotations

import itertools
import os
from collections import Counter

import numpy as np

from std_keras import progress as progress_lines
from std_keras.data.decoded_images import NOT_KEPT, DecodedImages
from std_keras.data.label_names import usable
from std_keras.data.listed import load_listed, some
from std_keras.data.loaded import Loaded, TestPart
from std_keras.data.source import Progress, no_progress
from std_keras.errors import InputError
from std_keras.files.picture_folder import is_shown_folder, list_pictures, said_left_out
from std_keras.files.texts import normalized

_WANTED = (
    "there must be one folder per class under train/ and val/ (or test/), or one folder per class "
    "and test_fraction=0.2"
)


def load_folder(
    path: str,
    *,
    image_size: int,
    cache_bytes: float,
    corrupt_images: str,
    eval_crop_ratio: float = 1.0,
    whole_pictures: bool = False,
    test_part: TestPart,
    kept_images: DecodedImages = NOT_KEPT,
    progress: Progress = no_progress,
) -> Loaded:
    """A directory with train/ and val/ (or test/), with train/ alone, or with class folders.

    Label names are the sorted names of the class folders. Images (what Pillow reads; also in
    folders within a class folder) become RGB squares, see `load_listed`. Without val/ and test/
    the test part is cut by `test_part`.

    Raises:
        InputError: for a directory that is missing, empty or without classes, class folders that
            differ, or unreadable images. With corrupt_images="skip" they are left out; then images
            that are to be read while training are decoded once beforehand, all of them.
    """
    flag = f"dataset=folder:{path}"
    path = os.path.expanduser(path)
    train, test = _layout(path, flag=flag, test_part=test_part)
    listed = {"train": _list_classes(os.path.join(path, train), flag=flag)}
    origins = {"train": f"{train}/" if train else "the class folders"}
    if test is not None:
        test_part.refuse_other(flag, f"{test}/")
        listed["test"] = _list_classes(os.path.join(path, test), flag=flag)
        origins["test"] = f"{test}/"
        _check_same_classes(tuple(listed["train"]), tuple(listed["test"]), other=test, flag=flag)
    parts = {}
    for part, files in listed.items():
        labels = np.repeat(np.arange(len(files)), [len(names) for names in files.values()])
        parts[part] = [name for names in files.values() for name in names], labels
    return load_listed(
        parts,
        label_names=tuple(listed["train"]),
        origins=origins,
        flag=flag,
        image_size=image_size,
        cache_bytes=cache_bytes,
        corrupt_images=corrupt_images,
        eval_crop_ratio=eval_crop_ratio,
        whole_pictures=whole_pictures,
        test_part=test_part,
        kept_images=kept_images,
        progress=progress,
    )


def folder_label_names(path: str) -> tuple[str, ...]:
    """The names that `load_folder` gives to the classes, without a look at their images.

    Raises:
        InputError: if there is no such directory, or no class folders.
    """
    flag = f"dataset=folder:{path}"
    path = os.path.expanduser(path)
    train, _ = _layout(path, flag=flag, test_part=TestPart(whole=True))
    return tuple(_class_folders(os.path.join(path, train), flag=flag))


def _layout(path: str, *, flag: str, test_part: TestPart) -> tuple[str, str | None]:
    """The folders of the training and the test images; "" is the directory itself."""
    if not os.path.isdir(path):
        raise InputError(f"{flag}: no directory {path}; {_WANTED}")
    folders = _folders(path, flag=flag)
    test = next((name for name in ("val", "test") if name in folders), None)
    if {"val", "test"} <= set(folders) and "train" in folders:
        progress_lines.warn(f"{flag}: val/ is the test split, and test/ is not used")
    if "train" in folders and (test or len(folders) == 1 or _folders(os.path.join(path, "train"))):
        if test is None:
            test_part.require(flag, f"no directory {os.path.join(path, 'val')} nor test/")
        return "train", test
    if test is not None or not folders:
        raise InputError(f"{flag}: no directory {os.path.join(path, 'train')}; {_WANTED}")
    test_part.require(flag, f"has class folders, but no {os.path.join(path, 'train')} and no val/")
    return "", None


def _folders(path: str, *, flag: str = "") -> list[str]:
    """Sorted names of the folders that count."""
    try:
        return sorted(e.name for e in os.scandir(path) if e.is_dir() and is_shown_folder(e.name))
    except OSError as error:
        raise InputError(f"{flag}: cannot read {error.filename}: {error.strerror}") from error


def _list_classes(directory: str, *, flag: str) -> dict[str, list[str]]:
    """Class name to its image files as `list_pictures` finds them."""
    folders = _class_folders(directory, flag=flag)

    def fail(error: OSError) -> None:
        raise InputError(f"{flag}: cannot read {error.filename}: {error.strerror}") from error

    classes: dict[str, list[str]] = {}
    left_out: Counter[str] = Counter()
    for label, name in folders.items():
        contents = list_pictures(os.path.join(directory, name), fail=fail)
        left_out += contents.left_out
        if not contents.pictures:
            others = ", ".join(f"{n} {ending}" for ending, n in sorted(contents.left_out.items()))
            raise InputError(
                f"{flag}: the class folder {os.path.join(directory, name)} has no images that can "
                f"be read (JPEG, PNG, WebP and others)" + (f", but {others}" if others else "")
            )
        classes[label] = contents.pictures
    warning = said_left_out(directory, left_out)
    if warning is not None:
        progress_lines.warn(warning)
    return classes


def _class_folders(directory: str, *, flag: str) -> dict[str, str]:
    """Class name to the name of its folder, in the order of the labels."""
    found = _folders(directory, flag=flag)
    if not found:
        raise InputError(f"{flag}: {directory} has no class folders")
    labels = {name: _label(name, directory, flag=flag) for name in found}
    # By the normalized names, so that the order does not depend on where the folder was copied to.
    names = sorted(found, key=lambda name: normalized([labels[name]]))
    for name, following in itertools.pairwise(names):
        if normalized([labels[name]]) == normalized([labels[following]]):
            raise InputError(
                f"{flag}: {directory} has two class folders called {labels[name]!r} in two "
                "spellings of Unicode; put their images together"
            )
    return {labels[name]: name for name in names}


def _label(name: str, directory: str, *, flag: str) -> str:
    """The name of a class from that of its folder, whatever the locale.

    Raises:
        InputError: if labels.txt, a text in UTF-8 with a name a line, could not hold it.
    """
    what = f"{flag}: {directory} has a class folder called"
    label = os.fsencode(name).decode("utf-8", errors="surrogateescape")
    usable(label, what=what)
    return label


def _check_same_classes(
    train: tuple[str, ...], test: tuple[str, ...], *, other: str, flag: str
) -> None:
    train, test = normalized(train), normalized(test)
    differing = [
        f"only {part}/ has {some(sorted(names))}"
        for part, names in (("train", set(train) - set(test)), (other, set(test) - set(train)))
        if names
    ]
    if differing:
        raise InputError(
            f"{flag}: train/ and {other}/ differ in their classes: {'; '.join(differing)}"
        )
