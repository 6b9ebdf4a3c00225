"""Archives are refused by what they declare, before anything is unpacked."""

from __future__ import annotations

import zipfile

import keras
import numpy as np
import pytest

from std_keras.errors import InputError
from std_keras.files.archive import HostileArchiveError, check_arrays, check_unpacked_size
from std_keras.runs.keras_file import load_keras_file


def write(path, content, *, compress):
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    return path


@pytest.mark.parametrize("parts", [1, 10])
def test_zeros_are_a_bomb_in_one_part_or_in_many(tmp_path, parts):
    content = {f"{i}.bin": bytes(80_000_000 // parts) for i in range(parts)}
    path = write(tmp_path / "bomb.zip", content, compress=True)
    assert path.stat().st_size < 100_000
    with pytest.raises(HostileArchiveError, match="would unpack to 80,000,000"):
        check_unpacked_size(path)


def test_what_is_honest_passes(tmp_path):
    noise = np.random.default_rng(0).bytes(10**6)
    check_unpacked_size(write(tmp_path / "noise.zip", {"x": noise}, compress=True))
    # Few zeros are no danger, and a large file of mostly zeros is allowed a hundred times itself.
    check_unpacked_size(write(tmp_path / "zeros.zip", {"x": bytes(60_000_000)}, compress=True))
    mixed = {"x": noise, "y": bytes(90_000_000)}
    check_unpacked_size(write(tmp_path / "mixed.zip", mixed, compress=True))
    check_unpacked_size(write(tmp_path / "stored.zip", {"x": bytes(80_000_000)}, compress=False))


def test_a_keras_file_that_is_a_bomb_is_refused_in_a_sentence(tmp_path, monkeypatch):
    def load(*_, **__):
        raise AssertionError("it was opened")

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    honest = tmp_path / "honest.keras"
    model.save(honest)
    with zipfile.ZipFile(honest) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["model.weights.h5"] += bytes(80_000_000)
    bomb = write(tmp_path / "bomb.keras", parts, compress=True)
    assert load_keras_file(honest).count_params() == 3
    monkeypatch.setattr(keras.models, "load_model", load)
    with pytest.raises(InputError, match=r"bomb\.keras has .* bytes and would unpack to 80,0"):
        load_keras_file(bomb)


def test_arrays_of_any_shape_pass(tmp_path):
    np.savez(tmp_path / "arrays.npz", x=np.zeros((2, 3)), y=np.float32(1.0), z=np.zeros((0, 4)))
    check_arrays(tmp_path / "arrays.npz")


def test_objects_are_refused(tmp_path):
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="x.npy holds Python objects"):
        check_arrays(tmp_path / "objects.npz")
