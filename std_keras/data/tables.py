"""The kinds of tables that list pictures, by the word before the colon: `csv:FILE`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from std_keras.data.csv_list import read_csv
from std_keras.data.hf_list import WORD, find_hf, read_hf
from std_keras.data.parquet_list import find_parquet, read_parquet
from std_keras.data.picture_list import PictureList

TABLES: Mapping[str, Callable[[str], PictureList]] = {
    "csv": read_csv,
    "parquet": read_parquet,
    WORD: read_hf,
}

LOOKS: Mapping[str, Callable[[str], object]] = {
    "csv": read_csv,
    "parquet": find_parquet,
    WORD: find_hf,
}
"""For each kind, what refuses a table that is not there, and unpacks no pictures."""
