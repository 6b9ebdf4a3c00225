from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from std_keras.errors import InputError
from std_keras.weights import read_source


@pytest.mark.parametrize(
    "dtype",
    [
        "float64",
        "float32",
        "float16",
        "bfloat16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "bool",
    ],
)
def test_types(torch, save, dtype):
    value = torch.arange(-3, 9).reshape(3, 4).to(getattr(torch, dtype))
    read = read_source(save({"x": value})).tensors["x"]
    expected = value.float() if dtype == "bfloat16" else value
    assert str(read.dtype) == str(expected.dtype).removeprefix("torch.")
    np.testing.assert_array_equal(read, expected.numpy())


def test_views_and_shared_storages(torch, save):
    base = torch.arange(60.0).reshape(3, 4, 5)
    state = OrderedDict(
        whole=base,
        transposed=base.permute(2, 0, 1),
        strided=base[1:, ::2, 1:4:2],
        offset=base[2, 3],
        scalar=base[1, 1, 1],
        empty=base[:0],
        expanded=base[0, 0].expand(4, 5),
        parameter=torch.nn.Parameter(base[0]),
    )
    source = read_source(save(state))
    assert list(source.tensors) == list(state)
    for name, value in state.items():
        np.testing.assert_array_equal(source.tensors[name], value.detach().numpy(), err_msg=name)


def test_a_training_checkpoint(torch, save):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    path = save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "epoch": 3,
            "args": argparse.Namespace(lr=0.1, distill_intermediate=True),
            "best": np.float64(0.5),
            "device": torch.device("cpu"),
            "size": torch.Size([1, 2]),
        }
    )
    source = read_source(path)
    assert source.place == "model"
    assert source.script["distill_intermediate"] is True
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(source.tensors[name], value.numpy())


def test_the_file_is_described(torch, save):
    path = save({"x": torch.ones(2)})
    source = read_source(path)
    assert source.file_format == ("torch zip" if zipfile.is_zipfile(path) else "torch legacy")
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_file_that_is_cut_off_gets_a_sentence(torch, save, part):
    path = save({f"layer{i}": torch.randn(50, 4) for i in range(5)})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(InputError, match=r"source=.*(cut off|damaged|not a PyTorch file|short)"):
        read_source(path)


def test_changed_numbers_of_a_zip_file_are_noticed(torch, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"x": torch.full((1000,), 7.0)}, path)
    content = bytearray(path.read_bytes())
    place = content.index(np.full(4, 7.0, "<f4").tobytes())
    content[place + 100] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_source(path)


def test_a_view_that_repeats_one_number_without_end_is_refused(torch, save):
    path = save({"x": torch.zeros(1).expand(10**6, 10**6)})
    with pytest.raises(InputError, match=r"4,000,000,000,000 bytes in a file of"):
        read_source(path)


def test_a_tensor_beyond_its_storage_is_refused(torch, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"x": torch.arange(70.0)[10:20]}, path)  # Written: offset 10, shape 10 of 70.
    inside = tmp_path / "changed.pth"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(inside, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename.endswith("data.pkl"):
                assert content.count(b"K\x0aK\x0a\x85") == 1
                content = content.replace(b"K\x0aK\x0a\x85", b"K\x3dK\x0a\x85")  # Offset 61.
            new.writestr(info.filename, content)
    with pytest.raises(InputError, match="reaches beyond its 70 numbers"):
        read_source(inside)


@pytest.mark.parametrize("kind", ["zip", "legacy", "npz"])
def test_changed_bytes_end_in_a_sentence_or_in_arrays(torch, tmp_path, kind):
    path, changed = tmp_path / "weights", tmp_path / "changed"
    if kind == "npz":
        with open(path, "wb") as file:
            np.savez_compressed(file, a=np.ones((3, 4)), b=np.zeros(2))
    else:
        state = {"model": {"a": torch.ones(3, 4), "b": torch.zeros(2)}, "epoch": 1}
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    original = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        content = bytearray(original)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            content[place] = rng.integers(0, 256)
        changed.write_bytes(content)
        try:
            read_source(changed)
        except InputError as error:
            assert str(error).startswith(f"source={changed} ")
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a/data.pkl": b"N.", "a/constants.pkl": b"N.", "a/version": b"3"}, "TorchScript"),
        ({"readme.txt": b"hello"}, "not one that torch.save writes"),
        ({"a/data.pkl": b"N.", "b/data.pkl": b"N."}, "not one that torch.save writes"),
        ({"a/data.pkl": b"N."}, "holds no state dict"),
        ({"a/data.pkl": b"}."}, "holds no state dict"),
    ],
)
def test_other_zip_files(tmp_path, files, words):
    path = tmp_path / "weights.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match=words):
        read_source(path, file_format="torch")


def test_a_compressed_archive_is_refused(torch, tmp_path):
    path, packed = tmp_path / "weights.pth", tmp_path / "packed.pth"
    torch.save({"x": torch.zeros(10**5)}, path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    with pytest.raises(InputError, match="compressed"):
        read_source(packed)


def test_a_whole_model_is_refused_with_advice(torch, save):
    with pytest.raises(InputError, match=r"Linear.*state_dict"):
        read_source(save(torch.nn.Linear(2, 2)))


@pytest.mark.parametrize("content", [b"", b"x" * 15, b"hello, world, this is text\n", bytes(5000)])
def test_other_files(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"source=.*PyTorch file"):
        read_source(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"source=.*none\.pth cannot be read: No such file"):
        read_source(tmp_path / "none.pth")
    with pytest.raises(InputError, match="is a folder without model.safetensors"):
        read_source(tmp_path)


def test_pytorch_is_not_imported(torch, tmp_path, root):
    for name, new in (("zip", True), ("legacy", False)):
        state = {"x": torch.ones(2)}
        torch.save(state, tmp_path / name, _use_new_zipfile_serialization=new)
    script = (
        "import sys\n"
        "from std_keras.weights.source import read_source\n"
        "for name in ('zip', 'legacy'):\n"
        f"    print(read_source({str(tmp_path)!r} + '/' + name).tensors)\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("array([1., 1.]") == 2
