from __future__ import annotations

from pathlib import Path

import pytest

from std_keras.errors import InputError
from std_keras.programs import flagfiles


def write(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_comments_and_blank_lines_are_left_out(tmp_path):
    path = write(tmp_path, "a.flags", "# what it is", "", "  --epochs=3  ", "// old", "--nofoo")
    assert flagfiles.expand([f"--flagfile={path}"], repeated=()) == ["--epochs=3", "--nofoo"]


@pytest.mark.parametrize("form", [["--flagfile={}"], ["-flagfile={}"], ["--flagfile", "{}"]])
def test_forms_of_the_directive(tmp_path, form):
    path = write(tmp_path, "a.flags", "--epochs=3")
    assert flagfiles.expand([f.format(path) for f in form], repeated=()) == ["--epochs=3"]


def test_nested_files_are_relative_to_the_file_that_names_them(tmp_path, monkeypatch):
    write(tmp_path, "deep/base.flags", "--epochs=1", "--seed=5")
    path = write(tmp_path, "deep/er/top.flags", "--flagfile=../base.flags", "--epochs=2")
    monkeypatch.chdir("/")
    assert flagfiles.expand([f"--flagfile={path}"], repeated=()) == [
        "--epochs=1",
        "--seed=5",
        "--epochs=2",
    ]


def test_order_is_kept_so_that_later_flags_override(tmp_path):
    path = write(tmp_path, "a.flags", "--epochs=1")
    expanded = flagfiles.expand(["--epochs=0", f"--flagfile={path}", "--epochs=2"], repeated=())
    assert expanded == ["--epochs=0", "--epochs=1", "--epochs=2"]


def test_an_outer_layer_replaces_a_repeated_flag_of_the_layers_it_includes(tmp_path):
    base = write(tmp_path, "base.flags", "--teacher=a", "--teacher=b", "--seed=1")
    middle = write(tmp_path, "middle.flags", f"--flagfile={base}", "--teacher=c", "--teacher=d")
    assert flagfiles.expand([f"--flagfile={middle}"], repeated=["teacher"]) == [
        "--seed=1",
        "--teacher=c",
        "--teacher=d",
    ]
    assert flagfiles.expand([f"--flagfile={middle}", "--teacher=e"], repeated=["teacher"]) == [
        "--seed=1",
        "--teacher=e",
    ]


def test_a_flag_whose_name_only_starts_alike_is_not_replaced(tmp_path):
    path = write(tmp_path, "a.flags", "--teacher_cache=x")
    expanded = flagfiles.expand([f"--flagfile={path}", "--teacher=e"], repeated=["teacher"])
    assert expanded == ["--teacher_cache=x", "--teacher=e"]


def test_a_file_that_includes_itself_is_refused(tmp_path):
    write(tmp_path, "b.flags", "--flagfile=a.flags")
    path = write(tmp_path, "a.flags", "--flagfile=b.flags")
    with pytest.raises(InputError, match="includes itself"):
        flagfiles.expand([f"--flagfile={path}"], repeated=())


def test_the_same_file_twice_is_not_a_cycle(tmp_path):
    path = write(tmp_path, "a.flags", "--epochs=1")
    assert flagfiles.expand([f"--flagfile={path}"] * 2, repeated=()) == ["--epochs=1"] * 2


def test_a_missing_file_is_named_with_the_places_searched(tmp_path):
    with pytest.raises(InputError, match=r"no such file.*nothing\.flags"):
        flagfiles.expand([f"--flagfile={tmp_path / 'nothing.flags'}"], repeated=())


def test_a_directive_without_a_file(tmp_path):
    with pytest.raises(InputError, match="has no value"):
        flagfiles.expand(["--flagfile"], repeated=())


def test_a_line_that_is_no_flag_is_named_by_number(tmp_path):
    path = write(tmp_path, "a.flags", "--epochs=1", "epochs=2")
    with pytest.raises(InputError, match=r"a\.flags, line 2: 'epochs=2' is not a flag"):
        flagfiles.expand([f"--flagfile={path}"], repeated=())


def test_a_binary_file_is_refused(tmp_path):
    path = tmp_path / "a.flags"
    path.write_bytes(b"\xff\xfe\x00--epochs")
    with pytest.raises(InputError, match="cannot be read as text"):
        flagfiles.expand([f"--flagfile={path}"], repeated=())


def test_shipped_files_are_found_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expanded = flagfiles.expand(["--flagfile=flags/digits_mixer.flags"], repeated=())
    assert "--dataset=digits" in expanded


def test_a_byte_order_mark_is_no_part_of_the_first_flag(tmp_path):
    path = tmp_path / "a.flags"
    path.write_bytes(b"\xef\xbb\xbf--epochs=1\r\n--seed=2\r\n")
    expanded = flagfiles.expand([f"--flagfile={path}"], repeated=())
    assert expanded == ["--epochs=1", "--seed=2"]
