from __future__ import annotations

import pytest

from std_keras.errors import InputError
from std_keras.weights import read_source
from std_keras.weights.format_error import FormatError
from std_keras.weights.state_dict import WRAPPERS, find_state_dict
from std_keras.weights.torch_tensors import Storage, StorageType, TensorView


def tensor(key="0"):
    return TensorView(Storage(key, StorageType("FloatStorage"), 1), 0, (1,), (1,))


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_wrappers_and_prefixes(wrapper, prefix):
    state = {f"{prefix}conv.weight": tensor(), f"{prefix}conv.bias": tensor("1")}
    found = find_state_dict({wrapper: state, "epoch": 3})
    assert list(found.tensors) == ["conv.weight", "conv.bias"]
    assert found.place == wrapper


def test_a_prefix_of_some_names_only_stays():
    found = find_state_dict({"module.a": tensor(), "b": tensor()})
    assert list(found.tensors) == ["module.a", "b"]
    assert found.place == ""


def test_averaged_weights_come_first_and_others_can_be_chosen():
    content = {"model": {"a": tensor("raw")}, "model_ema": {"a": tensor("ema")}}
    found = find_state_dict(content)
    assert (found.place, found.others) == ("model_ema", ("model",))
    assert found.tensors["a"].storage.key == "ema"
    assert find_state_dict(content, place="model").tensors["a"].storage.key == "raw"
    with pytest.raises(FormatError, match=r"under 'net'; there is one under 'model_ema', 'model'"):
        find_state_dict(content, place="net")


def test_nested_wrappers():
    found = find_state_dict({"state_dict": {"model": {"a": tensor()}}})
    assert (found.place, list(found.tensors)) == ("state_dict/model", ["a"])


@pytest.mark.parametrize(
    "content", [None, [], {}, {"model": 3}, {"a": 1.0}, {"x": {"a": tensor()}}]
)
def test_without_a_state_dict(content):
    with pytest.raises(FormatError, match="holds no state dict"):
        find_state_dict(content)


def test_values_that_are_no_tensors_are_left_out(torch, save):
    source = read_source(save({"a": torch.ones(1), "version": 3, "name": "x"}))
    assert list(source.tensors) == ["a"]


def test_the_place_is_a_flag(torch, save):
    path = save({"model": {"a": torch.ones(1)}, "ema": {"a": torch.zeros(1)}})
    assert read_source(path, place="model").tensors["a"] == [1.0]
    with pytest.raises(InputError, match="'net'"):
        read_source(path, place="net")
