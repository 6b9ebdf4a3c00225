"""Fewer examples, for dry runs."""

from __future__ import annotations

import dataclasses

import numpy as np

from std_keras.data.dataset import DataSet
from std_keras.data.source import IndexedSource, Source
from std_keras.errors import InputError


def limited(dataset: DataSet, *, train: int = 0, test: int = 0) -> DataSet:
    """The data set with at most so many examples in its train and test parts; 0 leaves a part.

    They are taken at equal distances, so that a split that is sorted by class keeps all classes.

    Raises:
        InputError: if a part is streamed from disk and cannot be indexed.
    """
    return dataclasses.replace(
        dataset,
        train=limited_source(dataset.train, train, flag="max_train_examples"),
        test=limited_source(dataset.test, test, flag="max_test_examples"),
    )


def limited_source(source: Source, count: int, *, flag: str) -> Source:
    """At most `count` examples of one part, at equal distances; 0 for all."""
    if not count or count >= source.size:
        return source
    if not isinstance(source, IndexedSource):
        raise InputError(
            f"{flag}={count} needs a data set in memory; raise `cache_gb` so that it fits"
        )
    return source.subset(np.arange(count) * source.size // count)
