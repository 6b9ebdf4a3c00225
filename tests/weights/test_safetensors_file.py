"""safetensors files: what PyTorch's writer wrote is read, and what is damaged gets a sentence."""

from __future__ import annotations

import hashlib
import json
import struct
import tracemalloc

import numpy as np
import pytest

from std_keras.errors import InputError
from std_keras.weights import read_source
from tests import processes


def written(header, data=b""):
    """A file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.fixture
def module(torch):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))


def test_equals_pytorch(torch, module, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file(module.state_dict(), path, metadata={"format": "pt"})
    read = read_source(path)
    assert read.file_format == "safetensors"
    assert read.metadata == {"format": "pt"}
    state = module.state_dict()
    assert set(read.tensors) == set(state)
    for name, value in state.items():
        np.testing.assert_array_equal(read.tensors[name], value.numpy())
        assert read.tensors[name].dtype == value.numpy().dtype


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float64", "int32", "bool"])
def test_every_type_of_number(torch, tmp_path, kind):
    from safetensors.torch import save_file

    values = torch.tensor([[1.5, -2.0], [0.0, 448.0]]).to(getattr(torch, kind))
    save_file({"x": values}, tmp_path / "x.safetensors")
    read = read_source(tmp_path / "x.safetensors").tensors["x"]
    np.testing.assert_array_equal(read, values.to(torch.float64).numpy())
    assert read.dtype.isbuiltin == 1


def test_numbers_of_eight_bits_are_not_read(torch, tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.ones(2).to(torch.float8_e4m3fn)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="has x in numbers of type F8_E4M3"):
        read_source(tmp_path / "x.safetensors")


def test_another_name_and_the_name_of_a_wrapper(torch, module, tmp_path):
    from safetensors.torch import save_file

    state = {f"module.{name}": value for name, value in module.state_dict().items()}
    save_file(state, tmp_path / "weights.bin")
    read = read_source(tmp_path / "weights.bin")
    assert read.file_format == "safetensors"
    assert set(read.tensors) == set(module.state_dict())


@pytest.fixture
def sharded(torch, module, tmp_path):
    """Two files and their index, as `huggingface_hub` writes it."""
    from huggingface_hub import save_torch_state_dict

    save_torch_state_dict(module.state_dict(), tmp_path, max_shard_size=60)
    index = tmp_path / "model.safetensors.index.json"
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    return index


def test_an_index_of_several(sharded, module):
    for source in (sharded, sharded.parent):
        read = read_source(source)
        for name, value in module.state_dict().items():
            np.testing.assert_array_equal(read.tensors[name], value.numpy())
    files = [sharded, *sharded.parent.glob("*.safetensors")]
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert {read.path.name: read.sha256, **read.parts} == digests


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m | {"0.weight": "../other.safetensors"}, "not a safetensors file beside it"),
        (lambda m: m | {"0.weight": "/etc/passwd"}, "not a safetensors file beside it"),
        (lambda m: m | {"0.weight": "weights.pth"}, "not a safetensors file beside it"),
        (lambda m: m | {"0.weight": "missing.safetensors"}, "cannot be read"),
        (lambda m: m | {"more": m["0.weight"]}, "does not say the same of more"),
        (lambda m: m | {"0.weight": 3}, "has no weight_map"),
        (lambda m: [], "has no weight_map"),
    ],
)
def test_a_wrong_index(sharded, change, words):
    content = json.loads(sharded.read_text())
    content["weight_map"] = change(content["weight_map"])
    sharded.write_text(json.dumps(content))
    with pytest.raises(InputError, match=words):
        read_source(sharded)


def test_a_damaged_part_is_named(sharded):
    part = sorted(sharded.parent.glob("*.safetensors"))[0]
    part.write_bytes(part.read_bytes()[:-3])
    with pytest.raises(InputError, match=rf"lists {part.name}, which is a damaged or cut-off"):
        read_source(sharded)


FLOATS = np.arange(3, dtype="<f4").tobytes()
ONE = {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}
DAMAGED = {
    "empty": b"",
    "too short": b"abc",
    "a length beyond the file": struct.pack("<Q", 2**40) + b"{}",
    "a negative length": struct.pack("<q", -1) + b"{}",
    "a length of one byte too much": struct.pack("<Q", 3) + b"{}",
    "no JSON": written(b"nonsense" * 4),
    "a list": written(b"[1, 2, 3]"),
    "deep JSON": written(b"[" * 100_000),
    "offsets that overlap": written(
        {"a": ONE, "b": {"dtype": "F32", "shape": [3], "data_offsets": [4, 16]}}, FLOATS * 2
    ),
    "offsets beyond the file": written({"a": {**ONE, "data_offsets": [2**50, 2**50 + 12]}}, FLOATS),
    "offsets that go back": written({"a": {**ONE, "data_offsets": [12, 0]}}, FLOATS),
    "a gap": written({"a": {**ONE, "data_offsets": [4, 16]}}, FLOATS + b"1234"),
    "a huge shape": written({"a": {**ONE, "shape": [2**62, 2**62]}}, FLOATS),
    "a shape larger than the data": written({"a": {**ONE, "shape": [2**30]}}, FLOATS),
    "a negative shape": written({"a": {**ONE, "shape": [-3]}}, FLOATS),
    "more axes than NumPy has": written(
        {"a": {"dtype": "F32", "shape": [1] * 100, "data_offsets": [0, 4]}}, FLOATS[:4]
    ),
    "an unknown type": written({"a": {**ONE, "dtype": "PICKLE"}}, FLOATS),
    "cut off": written({"a": ONE}, FLOATS[:-1]),
    "too long": written({"a": ONE}, FLOATS + b"x"),
    "names that are no text": written(b'{"\xff\xfe": 1}'),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_or_hostile_file_gets_a_sentence(tmp_path, case):
    path = tmp_path / "model.safetensors"
    path.write_bytes(DAMAGED[case])
    tracemalloc.start()  # The peak of the process would be of whatever ran in it before.
    try:
        with pytest.raises(InputError, match=r"source=.*model\.safetensors is (not )?a "):
            read_source(path)
        # No memory for what is only declared.
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_more_arrays_than_any_classifier_has(tmp_path):
    path = tmp_path / "model.safetensors"
    nothing = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    path.write_bytes(written({str(number): nothing for number in range(20_000)}))
    with pytest.raises(InputError, match="has 20,000 arrays, and is not a classifier"):
        read_source(path)


def test_a_description_of_many_megabytes_is_not_read(tmp_path):
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    names = {f"{'a' * 200}{number}": empty for number in range(45_000)}
    (tmp_path / "x.safetensors").write_bytes(written(names))
    with pytest.raises(InputError, match=r"describes its arrays in .* bytes, which is too many"):
        read_source(tmp_path / "x.safetensors")
    content = json.dumps({"weight_map": dict.fromkeys(names, "x.safetensors")})
    (tmp_path / "x.safetensors.index.json").write_text(content)
    with pytest.raises(InputError, match="is too large for an index"):
        read_source(tmp_path / "x.safetensors.index.json")


def test_from_the_command_line(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(DAMAGED["a huge shape"])
    command = ("convert", f"--source={path}", f"--output={tmp_path / 'run'}", "--model=mixer_s16")
    done = processes.run("-m", "std_keras", *command)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"error: --source={path} is a damaged")
    assert not (tmp_path / "run").exists()


def test_a_folder_without_weights(tmp_path):
    with pytest.raises(InputError, match=r"is a folder without model\.safetensors"):
        read_source(tmp_path)
