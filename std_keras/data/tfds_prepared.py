"""Finds a prepared TFDS data set on disk; never downloads."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from std_keras.errors import InputError, reason_of
from std_keras.files.paths import is_utf8, plain_path

# name[/config][:version], as TFDS writes it.
_NAME = re.compile(r"(?P<base>\w+)(/(?P<config>[\w.\-]+))?(:(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


@contextlib.contextmanager
def quiet_tfds() -> Iterator[Any]:
    """Imports tensorflow_datasets (slow) and keeps its log lines to itself."""
    from absl import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        import tensorflow_datasets as tfds

        yield tfds
    finally:
        logging.set_verbosity(verbosity)


def base_name(name: str) -> str:
    """`imagenette/160px-v2:1.0.0` to `imagenette`."""
    return re.split(r"[/:]", name)[0]


def prepared_builder(name: str, *, data_dir: str | None) -> Any:
    """The TFDS builder of a data set that is prepared under data_dir (TFDS' own place if None).

    The metadata beside the data is enough: the code that made the set need not be importable. If
    the metadata is too old to be read alone, the code is used.

    Raises:
        InputError: if the name is unknown, or nothing is prepared, with the command that gets it.
    """
    root = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    root = os.path.expanduser(root)
    if not is_utf8(root):  # TFDS and TensorFlow's file system would refuse it.
        root = plain_path(root)
    match = _NAME.fullmatch(name)
    if not match:
        raise _unknown(name, root)
    base, config, version = match["base"], match["config"], match["version"]

    folder = os.path.join(root, base)
    if config is None and not _versions(folder):
        config = _default_config(base, folder)
    if config is not None:
        folder = os.path.join(folder, config)
    versions = _versions(folder)
    if not versions:
        _check_known(name, base, match["config"], root)
        raise InputError(
            f"dataset={name}: no prepared data in {folder}; get it with: "
            f"{_download_command(name, root)} (and pass data_dir={root})"
        )
    if version and version not in versions:
        raise InputError(
            f"dataset={name}: version {version} is not in {folder}, which has {', '.join(versions)}"
        )
    folder = os.path.join(folder, version or versions[-1])
    try:
        with quiet_tfds() as tfds:
            if tf.io.gfile.exists(os.path.join(folder, "features.json")):
                return tfds.builder_from_directory(folder)
            return tfds.builder(name, data_dir=root, try_gcs=False)
    except Exception as error:  # TFDS raises many kinds, for files that it cannot make sense of.
        raise InputError(
            f"dataset={name}: cannot read the metadata in {folder} ({reason_of(error)}); delete "
            f"that folder and get it again with: {_download_command(name, root)}"
        ) from error


def _download_command(name: str, root: str) -> str:
    load = f"tfds.load('{name}', data_dir='{root}')"
    return f'`python -c "import tensorflow_datasets as tfds; {load}"`'


def _list_directory(path: str) -> list[str]:
    if not tf.io.gfile.isdir(path):
        return []
    return sorted(entry.rstrip("/") for entry in tf.io.gfile.listdir(path))


def _versions(folder: str) -> list[str]:
    """Prepared versions in a folder, oldest first; one without metadata was never finished."""
    found = [
        entry
        for entry in _list_directory(folder)
        if _VERSION.fullmatch(entry)
        and tf.io.gfile.exists(os.path.join(folder, entry, "dataset_info.json"))
    ]
    return sorted(found, key=lambda version: [int(part) for part in version.split(".")])


def _default_config(base: str, folder: str) -> str | None:
    """The configuration meant by a bare name: TFDS' default, or the only one on disk."""
    configs = _configs(base)
    if configs:
        return configs[0]
    prepared = [entry for entry in _list_directory(folder) if _versions(f"{folder}/{entry}")]
    return prepared[0] if len(prepared) == 1 else None


def _configs(base: str) -> list[str]:
    """Configurations in the code of the set, the default first; none if it has or shows none."""
    try:
        with quiet_tfds() as tfds:
            cls = tfds.builder_cls(base)
        return [config.name for config in cls.BUILDER_CONFIGS] or list(cls.builder_configs)
    except Exception:  # Unknown to TFDS, or its code needs a package that is not installed.
        return []


def _check_known(name: str, base: str, config: str | None, root: str) -> None:
    """Raises if TFDS has no such data set or configuration, with the nearest names."""
    with quiet_tfds() as tfds:
        known = tfds.list_builders(with_community_datasets=False)
    if base not in known:
        raise _unknown(name, root)
    configs = _configs(base)
    if config and configs and config not in configs:
        near = difflib.get_close_matches(config, configs, n=3, cutoff=0.0)
        raise InputError(
            f"dataset={name}: {base} has no configuration {config!r}; "
            f"did you mean {' or '.join(f'{base}/{n}' for n in near)}?"
        )


def _unknown(name: str, root: str) -> InputError:
    with quiet_tfds() as tfds:
        known = ["digits", *tfds.list_builders(with_community_datasets=False)]
    known += [entry for entry in _list_directory(root) if entry not in known]
    near = difflib.get_close_matches(base_name(name).lower(), known, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return InputError(
        f"dataset={name}: neither digits, nor folder:PATH, nor a name that TensorFlow Datasets "
        f"knows{hint}"
    )
