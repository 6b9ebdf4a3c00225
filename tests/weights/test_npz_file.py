from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from std_keras.errors import InputError
from std_keras.weights import read_source


class Hostile:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_arrays_by_name(tmp_path, write):
    path = tmp_path / "mixer.npz"
    arrays = {"stem/kernel": np.arange(6.0).reshape(2, 3), "head/bias": np.zeros(4, np.float16)}
    write(path, **arrays)
    source = read_source(path)
    assert source.file_format == "npz"
    assert set(source.tensors) == set(arrays)
    for name, value in arrays.items():
        np.testing.assert_array_equal(source.tensors[name], value)


def test_a_pickled_object_is_not_loaded(tmp_path):
    path, marker = tmp_path / "mixer.npz", tmp_path / "executed"
    np.savez(path, x=np.array([Hostile(marker)], dtype=object))
    with pytest.raises(InputError, match=r"source=.*mixer\.npz is a damaged archive"):
        read_source(path)
    assert not marker.exists()


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_file_that_is_cut_off(tmp_path, part):
    path = tmp_path / "mixer.npz"
    np.savez(path, x=np.arange(1000.0), y=np.ones(10))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(InputError, match=r"source=.*damaged"):
        read_source(path, file_format="npz")
    with pytest.raises(InputError, match=r"source=.*cut off"):
        read_source(path)


def test_changed_numbers_are_noticed(tmp_path):
    path = tmp_path / "mixer.npz"
    np.savez(path, x=np.full(1000, 7.0))
    content = bytearray(path.read_bytes())
    content[4000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_source(path)


def test_a_file_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path):
    path = tmp_path / "mixer.npz"
    np.savez_compressed(path, x=np.zeros(10**7))
    assert path.stat().st_size < 10**5
    with pytest.raises(InputError, match=r"mixer\.npz has .* would unpack to 80,000,1"):
        read_source(path)


def test_an_array_that_is_declared_larger_than_its_bytes_is_refused(tmp_path):
    path, header = tmp_path / "mixer.npz", io.BytesIO()
    described = {"descr": "<f4", "fortran_order": False, "shape": (10**12,)}
    np.lib.format.write_array_header_2_0(header, described)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header.getvalue() + b"0000")
    with pytest.raises(
        InputError, match=r"declares an array of shape \(1000000000000,\) in x\.npy"
    ):
        read_source(path)


def test_another_zip_file(tmp_path):
    path = tmp_path / "mixer.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match=r"not an \.npz file"):
        read_source(path, file_format="npz")
