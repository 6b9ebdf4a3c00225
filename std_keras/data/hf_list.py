"""Image sets of Hugging Face's `datasets` library: by name, from its cache, or saved by it.

Nothing is downloaded: a training that goes on sees the pictures that it began with.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from std_keras.data.picture_cache import PictureCache, file_states
from std_keras.data.picture_list import SPLITS, PictureList, Row, labelled
from std_keras.errors import DISK_FAULTS, InputError, StdKerasError, reason_of
from std_keras.extras import imported
from std_keras.files.paths import user_path

WORD = "hf"
_OPTIONS = ("config", "image", "label")
_LABELS = ("label", "labels")
_NAME = re.compile(r"(?P<name>\w[\w.-]*(/\w[\w.-]*)?)(@(?P<revision>[0-9a-f]{7,40}))?")
_SAVED = ("dataset_dict.json", "state.json")  # What `save_to_disk` writes, of parts or of one.
_PLAIN = re.compile(r"u?int\d+|(large_)?string")  # Types of numbers and names.
_AT_ONCE = 64  # Rows; pictures of some megabytes may be among them.


@dataclass(frozen=True)
class HfSource:
    """What `hf:` is followed by.

    Attributes:
        source: ORG/NAME, maybe with @REVISION, or a folder that `save_to_disk` made.
        config: of the data set's configurations, the one that is meant; None for the only one.
        image: the column of the pictures; None to find it.
        label: the column of the labels; None to find it.
    """

    source: str
    config: str | None = None
    image: str | None = None
    label: str | None = None

    @property
    def folder(self) -> Path | None:
        """The folder that it names; None if it is a name."""
        folder = user_path(self.source)
        return folder if any((folder / name).is_file() for name in _SAVED) else None

    @property
    def name(self) -> re.Match[str] | None:
        """The name and revision; None if it is a folder, or no name."""
        return None if self.folder else _NAME.fullmatch(self.source)


def parse(place: str) -> HfSource:
    """Reads `SOURCE[,option=value]...`.

    Raises:
        InputError: for an option that does not exist.
    """
    source, *options = place.split(",")
    while options and "=" not in options[0]:  # A comma of a folder's name.
        source += "," + options.pop(0)
    chosen: dict[str, str] = {}
    for option in options:
        name, _, value = option.partition("=")
        if name not in _OPTIONS or name in chosen or not value:
            raise InputError(
                f"dataset={WORD}:{place}: {option!r} is not an option, or not for the first time; "
                "the options are config=NAME, image=COLUMN and label=COLUMN"
            )
        chosen[name] = value
    return HfSource(source, **chosen)


def find_hf(place: str) -> None:
    """Raises InputError if the library is missing, or has no such set."""
    flag, asked = f"dataset={WORD}:{place}", parse(place)
    datasets = imported("datasets", needed_by=flag)
    if asked.folder is None:
        with _readable(flag):
            _cached(datasets, asked, flag=flag)


def read_hf(place: str) -> PictureList:
    """A data set of the Hugging Face hub that its library has in its cache, or a saved one.

    `ORG/NAME[@COMMIT]`, or a folder made by `save_to_disk`; then `,config=NAME`, and `,image=` and
    `,label=` where the types of the columns leave a choice: pictures are of the type `Image`,
    labels `ClassLabel`, or whole numbers or names called `label`. Parts are those called train,
    test and validation; one alone is the list, whatever it is called.

    Raises:
        InputError: if the library is missing, the set is not there or cannot be used.
    """
    flag = f"dataset={WORD}:{place}"
    asked = parse(place)
    datasets = imported("datasets", needed_by=flag)
    with _readable(flag):
        return _read(datasets, asked, flag=flag)


@contextlib.contextmanager
def _readable(flag: str) -> Iterator[None]:
    """Turns what the library raises for what it cannot read into an InputError."""
    try:
        yield
    except StdKerasError:
        raise
    except Exception as error:  # Its own, Arrow's and those of JSON.
        if isinstance(error, OSError) and error.errno in DISK_FAULTS:
            raise
        line = reason_of(error)
        raise InputError(f"{flag} cannot be read: {line}") from error


def _read(datasets: Any, asked: HfSource, *, flag: str) -> PictureList:
    folder = asked.folder
    if folder is None:
        found = _cached(datasets, asked, flag=flag)
    elif asked.config:
        raise InputError(f"{flag}: a saved data set has no configurations; leave config out")
    else:
        found = datasets.load_from_disk(str(folder))
    parts = _parts(found if isinstance(found, Mapping) else {"train": found}, flag=flag)
    first = next(iter(parts.values()))
    image, label = _columns(datasets, first.features, asked, flag=flag)
    names = getattr(first.features[label], "names", None)
    files = [Path(file["filename"]) for part in parts.values() for file in part.cache_files]
    cache = PictureCache(f"{file_states(files)}{image} {label} {names} {list(parts)}")
    if cache.there:
        rows, names = cache.read(flag=flag)
    else:
        rows = []
        with cache:
            for split, part in parts.items():
                if set(part.unique(label)) <= {None, -1, ""}:
                    rows.append(("", None, split))  # No picture need be unpacked to be left out.
                    continue
                part = part.select_columns([image, label])
                part = part.cast_column(image, datasets.Image(decode=False))
                rows += _rows(part, image, label, split, cache)
            cache.keep(rows, names)
    return labelled(rows, names, flag=flag, folder=str(cache.folder))


def _cached(datasets: Any, asked: HfSource, *, flag: str) -> Any:
    """The parts of a data set that the library has prepared."""
    from datasets.naming import camelcase_to_snakecase
    from datasets.packaged_modules.cache.cache import Cache

    named = asked.name
    if named is None:
        raise InputError(
            f"{flag} is neither a folder that the library's save_to_disk made, nor a name, "
            "ORG/NAME or ORG/NAME@COMMIT"
        )
    name, revision = named["name"], named["revision"] or ""
    *organisation, last = name.split("/")
    last = camelcase_to_snakecase(last)
    root = user_path(str(datasets.config.HF_DATASETS_CACHE))
    home = root / "___".join([*organisation, last])
    # CONFIG/VERSION/COMMIT
    there = [path.parent for path in home.glob("*/*/*/dataset_info.json")]
    chosen = [
        path
        for path in there
        if asked.config in (None, path.parts[-3]) and path.name.startswith(revision)
    ]
    if not chosen:
        arguments = f"'{name}'" + (f", '{asked.config}'" if asked.config else "")
        arguments += f", revision='{revision}'" if revision else ""
        has = sorted({f"{path.parts[-3]} at {path.name[:12]}" for path in there})
        raise InputError(
            f"{flag} is not in {root}"
            + (f", which has {', '.join(has)}" if has else "")
            + '; get it once, with `python -c "import datasets; '
            + f'datasets.load_dataset({arguments})"`'
        )
    configs = sorted({path.parts[-3] for path in chosen})
    if len(configs) > 1:
        raise InputError(
            f"{flag} has several configurations in {root}; add ,config={'|'.join(configs)}"
        )
    newest = max(chosen, key=lambda path: path.stat().st_mtime)
    return Cache(
        cache_dir=str(root),
        repo_id=name if organisation else None,
        dataset_name=name.split("/")[-1],
        config_name=newest.parts[-3],
        version=newest.parts[-2],
        hash=newest.name,
    ).as_dataset()


def _parts(found: Mapping[str, Any], *, flag: str) -> dict[str, Any]:
    """The parts by our names for them."""
    if len(found) == 1:
        return {"train": next(iter(found.values()))}
    parts = {SPLITS[split]: part for split, part in found.items() if split in SPLITS}
    if "train" not in parts:
        raise InputError(
            f"{flag} has the splits {', '.join(map(str, found))}; one must be called train, others "
            "test or validation"
        )
    return parts


def _columns(
    datasets: Any, features: Mapping[str, Any], asked: HfSource, *, flag: str
) -> tuple[str, str]:
    """The columns of the pictures and of the labels."""

    def of_type(kind: type) -> list[str]:
        return [name for name, feature in features.items() if isinstance(feature, kind)]

    images, classes = of_type(datasets.Image), of_type(datasets.ClassLabel)
    plain = [name for name in of_type(datasets.Value) if _PLAIN.fullmatch(features[name].dtype)]
    kinds = {
        name: getattr(feature, "dtype", "") if name in plain else type(feature).__name__
        for name, feature in features.items()
    }
    where = f"{flag} has the columns " + ", ".join(f"{name} ({k})" for name, k in kinds.items())
    labels = classes or [name for name in _LABELS if name in plain]
    return (
        _column("image", asked.image, images, images, "Image", where=where),
        _column(
            "label",
            asked.label,
            labels,
            [*classes, *plain],
            "ClassLabel, or whole numbers or names called label",
            where=where,
        ),
    )


def _column(
    option: str, asked: str | None, likely: list[str], legal: list[str], kind: str, *, where: str
) -> str:
    if asked is not None and asked not in legal:
        raise InputError(f"{where}; {option}={asked} names none of type {kind.split(' called')[0]}")
    if asked is None and not likely:
        raise InputError(f"{where}; none is the {option}, of type {kind}; add ,{option}=COLUMN")
    if asked is None and len(likely) > 1:
        raise InputError(f"{where}; add ,{option}={'|'.join(likely)}")
    return asked or likely[0]


def _rows(part: Any, image: str, label: str, split: str, cache: PictureCache) -> Iterator[Row]:
    """The rows; pictures that no file has are written to the cache."""
    number = 0
    for batch in part.iter(batch_size=_AT_ONCE):
        for picture, found in zip(batch[image], batch[label], strict=True):
            number += 1
            path = (picture or {}).get("path")
            if picture and picture.get("bytes") is None and path:
                yield os.path.abspath(path), found, split
            else:
                yield cache.write(picture, name=f"{split}/{number}"), found, split
