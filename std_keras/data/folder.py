"""One's own images: a folder per class under train/ and val/."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence

import numpy as np

from std_keras.data.files import FileSource
from std_keras.data.images import EXTENSIONS
from std_keras.data.source import IndexedSource, Progress, no_progress
from std_keras.errors import InputError
from std_keras.texts import normalized


def load_folder(
    path: str,
    *,
    image_size: int | None,
    cache_bytes: float,
    corrupt_images: str,
    eval_crop_ratio: float = 1.0,
    whole_pictures: bool = False,
    progress: Progress = no_progress,
) -> tuple[tuple[str, ...], IndexedSource, IndexedSource, tuple[str, ...]]:
    """(label names, train, val, skipped files) of a directory with train/ and val/.

    Label names are the sorted names of the class folders. Images (JPEG, PNG, BMP, GIF; also in
    folders within a class folder) become RGB squares. They are decoded once, in parallel, if that
    takes at most `cache_bytes`, else read while training; `whole_pictures` leaves train/ to be read
    while training. The squares of val/ have `eval_crop_ratio` of a picture's short side.

    Raises:
        InputError: for a directory that is missing, empty or without classes, class folders that
            differ, or unreadable images (with corrupt_images="skip" they are left out).
    """
    flag = f"dataset=folder:{path}"
    path = os.path.expanduser(path)
    if image_size is None:
        raise InputError(f"`image_size` is needed for folder: data ({flag}), e.g. image_size=224")
    for part in (path, os.path.join(path, "train"), os.path.join(path, "val")):
        if not os.path.isdir(part):
            raise InputError(
                f"{flag}: no directory {part}; there must be one folder per class under train/ "
                "and val/"
            )
    listed = {part: _list_classes(os.path.join(path, part), flag=flag) for part in ("train", "val")}
    label_names = tuple(listed["train"])
    _check_same_classes(label_names, tuple(listed["val"]), flag=flag)

    sources = {}
    for part, files in listed.items():
        labels = np.repeat(np.arange(len(files)), [len(names) for names in files.values()])
        paths = [name for names in files.values() for name in names]
        ratio = eval_crop_ratio if part == "val" else 1.0
        sources[part] = FileSource(paths, labels, image_size=image_size, crop_ratio=ratio)

    total_bytes = sum(source.size for source in sources.values()) * image_size**2 * 3
    kept: dict[str, IndexedSource] = {}
    corrupt: list[str] = []
    for part, source in sources.items():
        if total_bytes <= cache_bytes and not (whole_pictures and part == "train"):
            kept[part], bad = source.read_all(progress=progress, what=f"reading {part} images")
        else:
            bad = source.find_corrupt(progress=progress, what=f"checking {part} images")
            kept[part] = source.without(bad)
        corrupt += bad
    if corrupt and corrupt_images == "refuse":
        raise InputError(
            f"{flag}: {len(corrupt)} of {sum(s.size for s in sources.values())} images cannot be "
            f"decoded ({_some(corrupt)}); repair or remove them, or pass corrupt_images=skip"
        )
    for part, readable in kept.items():
        if not readable.size:
            raise InputError(f"{flag}: none of the images under {part}/ can be decoded")
    return label_names, kept["train"], kept["val"], tuple(corrupt)


def _list_classes(directory: str, *, flag: str) -> dict[str, list[str]]:
    """Class name to its sorted image files; hidden files and folders do not count."""

    def fail(error: OSError) -> None:
        raise InputError(f"{flag}: cannot read {error.filename}: {error.strerror}") from error

    classes: dict[str, list[str]] = {}
    try:
        found = [e.name for e in os.scandir(directory) if e.is_dir() and e.name[0] != "."]
    except OSError as error:
        fail(error)
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
    for name in names:
        files = []
        for folder, folders, entries in os.walk(os.path.join(directory, name), onerror=fail):
            folders[:] = sorted(f for f in folders if f[0] != ".")
            files += [
                os.path.join(folder, entry)
                for entry in sorted(entries)
                if entry[0] != "." and entry.lower().endswith(EXTENSIONS)
            ]
        if not files:
            raise InputError(
                f"{flag}: the class folder {os.path.join(directory, name)} has no images "
                f"({', '.join(EXTENSIONS)})"
            )
        classes[labels[name]] = files
    return classes


def _label(name: str, directory: str, *, flag: str) -> str:
    """The name of a class from that of its folder, whatever the locale.

    Raises:
        InputError: if labels.txt, a text in UTF-8 with a name a line, could not hold it.
    """
    try:
        label = os.fsencode(name).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{flag}: the name of the class folder {os.fsencode(name)!r} in {directory} is not "
            "UTF-8; rename it"
        ) from error
    if len(label.splitlines()) != 1:
        raise InputError(
            f"{flag}: the name of the class folder {label!r} in {directory} has a line break in "
            "it; rename it"
        )
    return label


def _check_same_classes(train: tuple[str, ...], val: tuple[str, ...], *, flag: str) -> None:
    train, val = normalized(train), normalized(val)
    differing = [
        f"only {part}/ has {_some(sorted(names))}"
        for part, names in (("train", set(train) - set(val)), ("val", set(val) - set(train)))
        if names
    ]
    if differing:
        raise InputError(f"{flag}: train/ and val/ differ in their classes: {'; '.join(differing)}")


def _some(names: Sequence[str], *, most: int = 3) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
