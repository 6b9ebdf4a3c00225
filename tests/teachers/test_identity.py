"""What tells one teacher from another, without loading it."""

from __future__ import annotations

import shutil

import pytest

from std_keras.errors import InputError
from std_keras.teachers import TeacherSpec, parse
from std_keras.teachers.identity import find, identity


def test_weights_count_and_their_place_does_not(network, make_run, tmp_path):
    run = make_run(network())
    here = identity(parse(str(run)))
    moved = shutil.copytree(run, tmp_path / "moved")
    assert identity(parse(f"{moved},site=both")) == here
    with open(moved / "model.keras", "r+b") as file:
        file.seek(200)
        file.write(b"\0\1\2\3")
    assert identity(parse(str(moved)))["teacher weights"] != here["teacher weights"]


def test_how_a_file_is_used_counts(network, tmp_path):
    file = tmp_path / "model.keras"
    network().save(file)
    texts = ("", ",input=unit", ",input=signed", ",input=unit,size=16", ",output=logits")
    found = [identity(parse(f"{file}{text}")) for text in texts]
    assert len({tuple(sorted(one.items())) for one in found}) == len(texts)
    assert len({one["teacher weights"] for one in found}) == 1


def test_all_files_of_a_saved_model_count(tmp_path):
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "variables" / "variables.data-00000-of-00001").write_bytes(b"weights")
    spec = parse(str(tmp_path))
    before = identity(spec)
    (tmp_path / "variables" / "variables.data-00000-of-00001").write_bytes(b"Weights")
    assert find(spec) == "saved_model"
    assert identity(spec) != before


def test_what_is_not_there_is_named(make_run, tmp_path):
    assert identity(parse("keras:ResNet50"))["teacher weights"].startswith(
        "keras:ResNet50, Keras 3"
    )
    with pytest.raises(InputError, match="not a run directory"):
        identity(parse(str(tmp_path / "nothing")))
    with pytest.raises(InputError, match=r"without model\.keras"):
        identity(parse(str(make_run(None))))


def test_precision_counts_where_it_changes_anything(network, make_run, tmp_path):
    run = parse(str(make_run(network())))
    exact, rounded = identity(run), identity(run, bfloat16=True)
    assert rounded == {**exact, "teacher precision": "bfloat16"}
    network().export(str(tmp_path / "saved"), verbose=False)
    saved = parse(f"{tmp_path / 'saved'},input=byte")
    assert identity(saved, bfloat16=True) == identity(saved)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("old.h5", "keras.models.load_model('old.h5').save('old.keras')"),
        ("a.weights.h5", "weights without a model"),
        ("a.pth", "std_keras.convert"),
        ("a.txt", "has an unsupported file type"),
    ],
)
def test_a_file_of_another_kind_says_what_to_do(tmp_path, name, words):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError) as info:
        find(TeacherSpec(str(tmp_path / name)))
    assert words in str(info.value)
    assert "train a teacher" not in str(info.value)
