from __future__ import annotations

import builtins
import collections
import functools
import io
import operator
import os
import pickle
import pickletools
import struct
import zipfile

import numpy as np
import pytest

from std_keras.errors import InputError
from std_keras.weights import read_source, safe_pickle, torch_tensors
from std_keras.weights.format_error import FormatError


def load(content):
    return safe_pickle.load(
        content,
        names=torch_tensors.names(),
        persistent_load=torch_tensors.storage_from_reference,
    )


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


def hostile(command):
    """Pickles that run a shell command in an unpickler without restrictions, by disguise."""
    import_os = f"__import__('os').system({command!r})"
    text = command.encode()
    module, name = os.system.__module__.encode(), b"system"
    dumps = functools.partial(pickle.dumps, protocol=2)
    return {
        "reduce, protocol 0": pickle.dumps(Calls(os.system, command), protocol=0),
        "reduce, protocol 2": dumps(Calls(os.system, command)),
        "reduce, protocol 5": pickle.dumps(Calls(os.system, command), protocol=5),
        "eval": dumps(Calls(builtins.eval, import_os)),
        "exec": dumps(Calls(builtins.exec, import_os)),
        "value of a state dict": dumps(
            collections.OrderedDict(weight=Calls(os.system, command), bias=1.0)
        ),
        "key of a state dict": dumps([(Calls(os.system, command), 0)]),
        "after a harmless object": dumps([collections.OrderedDict(), Calls(os.system, command)]),
        "partial": dumps(functools.partial(os.system, command)),
        "method caller": dumps(operator.methodcaller("system", command)),
        "state of an allowed class": dumps(
            Calls(collections.OrderedDict, state={"hook": Calls(os.system, command)})
        ),
        "INST": b"(S'" + text + b"'\ni" + module + b"\n" + name + b"\n.",
        "OBJ": b"(c" + module + b"\n" + name + b"\nS'" + text + b"'\no.",
        "dotted name": b"\x80\x04"
        + b"".join(
            b"\x8c" + bytes([len(part)]) + part for part in (b"torch", b"serialization.os.system")
        )
        + b"\x93\x8c"
        + bytes([len(text)])
        + text
        + b"\x85R.",
        "name of Python 2": b"c__builtin__\neval\n(S" + repr(import_os).encode() + b"\ntR.",
        "attribute of an allowed name": b"ccollections\nOrderedDict.fromkeys\n(tR.",
    }


DISGUISES = tuple(hostile(""))


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "executed"


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_hostile_pickle_is_refused_and_does_nothing(marker, disguise):
    content = hostile(f"touch {marker}")[disguise]
    with pytest.raises(FormatError, match="is not executed"):
        load(content)
    assert not marker.exists()


def test_these_payloads_would_run_elsewhere(marker):
    pickle.loads(hostile(f"touch {marker}")["value of a state dict"])
    assert marker.exists()


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize("disguise", ["value of a state dict", "INST"])
def test_a_hostile_file_is_refused_with_its_name(tmp_path, marker, kind, disguise):
    content = hostile(f"touch {marker}")[disguise]
    path = tmp_path / "weights.pth"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", "3\n")
    else:
        parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
        path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts) + content)
    with pytest.raises(InputError, match=r"source=.*weights\.pth names .*system"):
        read_source(path)
    assert not marker.exists()


def test_a_hostile_pickle_in_front_of_the_magic_number_does_nothing(tmp_path, marker):
    path = tmp_path / "weights.pth"
    path.write_bytes(hostile(f"touch {marker}")["reduce, protocol 2"])
    with pytest.raises(InputError, match="not a PyTorch file"):
        read_source(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "target",
    [
        b"ctorch\nFloatStorage\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ccollections\nOrderedDict\n",
        b"cargparse\nNamespace\n",
    ],
)
@pytest.mark.parametrize("state", [b"}S'name'\nS'x'\ns", b"(N}S'name'\nS'x'\nst"])
def test_a_pickle_cannot_change_what_it_is_given(target, state):
    """BUILD with a dictionary, or with one for slots, on the allowed names themselves."""
    with pytest.raises(FormatError, match="damaged"):
        load(target + state + b"b.")
    assert load(b"ccollections\nOrderedDict\n(tR.") == {}


def test_a_tensor_cannot_be_changed_after_it_was_checked():
    storage = torch_tensors.Storage("0", torch_tensors.StorageType("FloatStorage"), 4)
    view = torch_tensors.TensorView(storage, 0, (4,), (1,))
    for value in (storage, view, storage.kind):
        with pytest.raises(FormatError, match="changes"):
            value.__setstate__(["1", 2, 3, 4])


def test_a_dictionary_keeps_its_methods():
    items = b"ccollections\nOrderedDict\n(tR}S'items'\nI1\nsbS'key'\nI2\ns."
    assert dict(load(items).items()) == {"key": 2}


def test_what_is_beside_the_weights_becomes_inert():
    import argparse
    from pathlib import Path

    arguments = argparse.Namespace(lr=0.1, output=Path("x"), flag=True)
    value = np.float64(3.0)
    loaded = load(pickle.dumps({"args": arguments, "best": value, "epoch": 7}, 2))
    assert loaded["epoch"] == 7
    assert loaded["args"].state["lr"] == 0.1
    assert loaded["args"].state["flag"] is True
    assert isinstance(loaded["best"], safe_pickle.Inert)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle at all",
        b"\x80\x02}q\x00(X\x05\x00\x00\x00ab",  # Cut off in a string.
        b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"x.",  # A string of an exabyte.
        b"\x80\x02Nr" + struct.pack("<I", 2**31) + b".",  # A memo of two thousand million places.
        b"\x80\x02\x82\x01.",  # The extension registry.
        b"\x80\x02(((((.",
        b"\x80\x02Qx.",
    ],
)
def test_damaged_pickles_get_a_sentence(content):
    with pytest.raises(FormatError, match="damaged|cut off"):
        load(content)


def test_pickles_of_every_protocol_are_read():
    value = {"a": [1, 2.5, "x"], "b": (None, True)}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert load(pickle.dumps(value, protocol)) == value
        assert load(pickletools.optimize(pickle.dumps(value, protocol))) == value


def test_the_end_of_a_pickle_is_found_without_loading_it(marker):
    first = hostile(f"touch {marker}")["reduce, protocol 2"]
    stream = io.BytesIO(first + pickle.dumps(1))
    assert safe_pickle.end_of_pickle(stream) == len(first)
    assert not marker.exists()


@pytest.mark.parametrize("steps", [b"N0", b"]", b"("])
def test_a_pickle_of_many_steps_is_not_run_to_its_end(monkeypatch, steps):
    """One of 64 MB takes half a minute, and holds no tensor."""
    monkeypatch.setattr(safe_pickle, "_MOST_OPERATIONS", 1000)
    monkeypatch.setattr(safe_pickle, "_Unpickler", None)
    content = b"\x80\x02" + steps * 1000 + b"N."
    with pytest.raises(FormatError, match=r"more than 1,000 steps, which is too many"):
        load(content)
    with pytest.raises(FormatError, match="in too many bytes"):
        safe_pickle.end_of_pickle(io.BytesIO(content))


def test_the_largest_network_has_far_fewer_steps(torch, tmp_path):
    """A ResNet-1202 with its optimizer's moments, as scripts keep them."""
    state = {
        f"layer{part}.{number}.{name}": torch.zeros(1)
        for part in range(3)
        for number in range(401)
        for name in ("conv.weight", "bn.weight", "bn.bias", "bn.mean", "bn.var", "bn.count")
    }
    moments = {
        n: {"step": 1, "first": t, "second": t.clone()} for n, t in enumerate(state.values())
    }
    torch.save({"state_dict": state, "optimizer": {"state": moments}}, tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as archive:
        content = archive.read("x/data.pkl")
    steps = sum(1 for _ in pickletools.genops(content))
    assert 3 * steps < safe_pickle._MOST_OPERATIONS
    assert len(read_source(tmp_path / "x.pth").tensors) == len(state)
