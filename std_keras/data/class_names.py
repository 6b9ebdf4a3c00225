"""The class names of a data set, without its images."""

from __future__ import annotations

import os
import tempfile

from std_keras.data.digits import LABEL_NAMES
from std_keras.data.folder import folder_label_names
from std_keras.data.npz_images import is_npz, npz_label_names
from std_keras.data.tables import TABLES
from std_keras.data.tfds_prepared import prepared_builder, quiet_tfds
from std_keras.data.tfds_source import label_names
from std_keras.errors import InputError


def class_names(name: str, *, data_dir: str | None = None) -> tuple[str, ...]:
    """Class names, in the order of the labels.

    A TFDS set need not be on this machine, where its code has the names.

    Args:
        name: see `data.load`.
        data_dir: where TFDS sets were prepared; TFDS' own default if None.

    Raises:
        InputError: if the data set is not there, or its names are known only once it is.
    """
    if name == "digits":
        return LABEL_NAMES
    kind, colon, place = name.partition(":")
    if colon and kind == "folder":
        return folder_label_names(place)
    if colon and kind in TABLES:
        return TABLES[kind](place).label_names
    if is_npz(name):
        return npz_label_names(name)
    try:
        return label_names(name, prepared_builder(name, data_dir=data_dir).info)
    except InputError:
        names = _names_in_code(name)
        if names is None:
            raise
        return names


def _names_in_code(name: str) -> tuple[str, ...] | None:
    """What TFDS' code says; None if it does not know before the data is prepared."""
    try:
        with quiet_tfds() as tfds, tempfile.TemporaryDirectory() as nowhere:
            info = tfds.builder(name, data_dir=os.path.join(nowhere, "tfds"), try_gcs=False).info
            names = label_names(name, info)
    except Exception:  # TFDS raises many kinds: unknown names, missing packages, no network.
        return None
    # Where the names come with the data, TFDS counts the classes until then.
    return None if names == tuple(map(str, range(len(names)))) else names
