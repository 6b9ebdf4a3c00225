"""What is held out: the same fraction of every class, and copies of a picture together."""

from __future__ import annotations

import numpy as np
import pytest

from std_keras.data.arrays import ArraySource
from std_keras.data.file_identities import file_identities
from std_keras.data.randomness import Purpose, derive_seed
from std_keras.data.stratified import held_out_rows
from tests.data.numbered import numbered_source, numbers


def choose(labels, fraction, *, seed=0, identities=None):
    identities = np.arange(len(labels)) if identities is None else identities
    seed = derive_seed(seed, Purpose.HELD_OUT)
    return held_out_rows(np.asarray(labels), np.asarray(identities), fraction=fraction, seed=seed)


@pytest.mark.parametrize("seed", range(60))
def test_a_rare_class_keeps_its_images(seed):
    """By chance alone, 8 of these 60 seeds take all three from train, or hold none out."""
    labels = np.array([0] * 37 + [1] * 40 + [2] * 3)
    held_out = np.bincount(labels[choose(labels, 0.34, seed=seed)], minlength=3)
    assert held_out.tolist() == [12, 14, 1] or held_out.tolist() == [13, 13, 1]
    assert held_out.sum() == round(0.34 * 80)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9])
def test_every_class_gives_its_share_by_largest_remainders(fraction):
    sizes = np.array([100, 57, 23, 11, 40])
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(5), sizes))
    given = np.bincount(labels[choose(labels, fraction)], minlength=5)
    assert np.abs(given - fraction * sizes).max() < 1
    assert given.sum() == round(fraction * sizes.sum())


def test_the_choice_is_a_function_of_the_seed():
    labels = np.arange(300) % 7
    rows = choose(labels, 0.2, seed=3)
    assert rows.tolist() == choose(labels, 0.2, seed=3).tolist() == sorted(set(rows.tolist()))
    assert rows.tolist() != choose(labels, 0.2, seed=4).tolist()


def test_no_class_is_emptied():
    assert choose([0, 1, 1, 1, 1], 0.9).tolist() != []
    rest = set(range(5)) - set(choose([0, 1, 1, 1, 1], 0.9).tolist())
    assert 0 in rest and len(rest) == 2


@pytest.mark.parametrize("seed", range(20))
def test_copies_stay_together(seed):
    identities = np.arange(120) // 3  # Three copies of each, also under other labels.
    labels = np.random.default_rng(seed).integers(0, 4, 120)
    held_out = np.zeros(120, bool)
    held_out[choose(labels, 0.25, seed=seed, identities=identities)] = True
    together = held_out.reshape(40, 3)
    assert (together.all(1) == together.any(1)).all()
    assert 18 <= held_out.sum() <= 30


def test_the_values_of_identities_do_not_matter():
    labels, identities = np.arange(60) % 3, np.arange(60) % 40
    names = np.array([f"{hash(i * 7919)}" for i in range(40)])[identities]
    ours = choose(labels, 0.2, identities=identities)
    assert ours.tolist() == choose(labels, 0.2, identities=names).tolist()


def test_a_source_tells_copies_by_their_pixels():
    images = numbered_source(10).take()[0][np.arange(30) % 10]
    source = ArraySource(images, np.arange(30) % 2)
    rest, held_out = source.split(fraction=0.2, seed=1)
    assert held_out.size == 6
    assert not set(numbers(rest.take()[0])) & set(numbers(held_out.take()[0]))


def test_the_choice_of_older_runs_is_still_there():
    rest, held_out = numbered_source(50).split(fraction=0.1, seed=4, stratified=False)
    assert (rest.size, numbers(held_out.take()[0])) == (45, [10, 18, 24, 30, 32])


def test_files_are_copies_if_all_their_bytes_are(tmp_path):
    contents = [b"a" * 9000, b"a" * 9000, b"b" + b"a" * 8999, b"a" * 8999, b"a" * 8999 + b"b", b""]
    paths = [tmp_path / str(i) for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    paths += [tmp_path / "missing", tmp_path / "lost"]
    found = file_identities([str(path) for path in paths]).tolist()
    assert found[0] == found[1] and len(set(found)) == len(paths) - 1
