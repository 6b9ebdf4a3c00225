"""The size of a teacher's input, without loading it: that which it has when it is loaded."""

from __future__ import annotations

import keras
import pytest

from std_keras.teachers import input_size, load, parse

LABELS = tuple("0123456789")


@pytest.mark.parametrize("shape", [(8, 8, 1), (20, 12, 3), (None, None, 3)])
@pytest.mark.parametrize("kind", ["run", "keras_file", "saved_model"])
def test_every_kind_tells(kind, shape, network, make_run, tmp_path):
    model = network(shape)
    if kind == "run":
        text = str(make_run(model))
    elif kind == "keras_file":
        model.save(tmp_path / "model.keras")
        text = f"{tmp_path / 'model.keras'},input=byte"
    else:
        model.export(str(tmp_path / "saved"), verbose=False)
        text = f"{tmp_path / 'saved'},input=byte"
    found = input_size(parse(text))
    assert found == (None if shape[0] is None else max(shape[:2]))
    loaded = load(parse(text), image_shape=(16, 16, shape[-1]), label_names=LABELS)
    assert max(loaded.image_shape[:2]) == (found or 16)


def test_a_size_that_is_asked_for_counts(network, tmp_path):
    network((None, None, 3)).save(tmp_path / "model.keras")
    assert input_size(parse(f"{tmp_path / 'model.keras'},input=byte,size=24")) == 24
    assert input_size(parse("keras:ResNet50")) == 224
    assert input_size(parse("keras:ResNet50,size=160")) == 160


def test_sequential_and_nested_models_tell(network, tmp_path):
    inner = network((12, 12, 3))
    outer = keras.Sequential([keras.Input((12, 12, 3)), inner])
    for name, model in (
        ("sequential", outer),
        ("nested", keras.Model(outer.inputs, outer.outputs)),
    ):
        model.save(tmp_path / f"{name}.keras")
        assert input_size(parse(f"{tmp_path / name}.keras,input=byte")) == 12


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive at all"])
def test_a_damaged_file_does_not_tell(content, tmp_path):
    """Loading it says what is wrong."""
    (tmp_path / "model.keras").write_bytes(content)
    assert input_size(parse(f"{tmp_path / 'model.keras'},input=byte")) is None
    (tmp_path / "saved_model.pb").write_bytes(content)
    assert input_size(parse(f"{tmp_path},input=byte")) is None
