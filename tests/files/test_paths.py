"""Names of folders with which TensorFlow does not do what is meant."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from std_keras.files import paths
from std_keras.files.paths import plain_path, user_path


def test_a_name_without_special_characters_stays():
    assert plain_path("a b/ü/lr=1e-3") == "a b/ü/lr=1e-3"
    assert plain_path(Path("/x/y")) == "/x/y"


@pytest.mark.parametrize("name", ["lr=[1e-3] run", "a\\b", "q?", "st*r", os.fsdecode(b"caf\xe9")])
@pytest.mark.parametrize("proc", [True, False])
def test_the_other_name_leads_to_the_same_folder(tmp_path, monkeypatch, name, proc):
    if not proc:  # As on macOS.
        monkeypatch.setattr(paths, "_PROC", "/nowhere")
    folder = tmp_path / name / "inner"
    folder.mkdir(parents=True)
    plain = plain_path(folder / "file")
    Path(plain).write_text("x")
    assert (folder / "file").read_text() == "x"
    assert plain.isascii()
    assert not set(plain) & set("*?[]\\")
    assert plain_path(folder / "file") == plain, "one descriptor serves all"


def test_a_folder_that_was_made_again_is_the_new_one(tmp_path):
    folder = tmp_path / "a[1]"
    for content in ("old", "new"):
        folder.mkdir()
        Path(plain_path(folder / "file")).write_text(content)
        assert (folder / "file").read_text() == content
        shutil.rmtree(folder)


def test_a_relative_name_holds_when_the_working_directory_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a[1]").mkdir()
    plain = plain_path("a[1]/file")
    monkeypatch.chdir("/")
    Path(plain).write_text("x")
    assert (tmp_path / "a[1]" / "file").read_text() == "x"


def test_what_is_not_there_stays_to_be_named_in_the_error(tmp_path):
    assert plain_path(tmp_path / "no[thing]" / "x") == str(tmp_path / "no[thing]" / "x")


def test_tensorflow_itself_takes_a_path_for_a_pattern(tmp_path):
    """Why all this is: once it fails here, plain_path can go."""
    folder = tmp_path / "a[1]"
    folder.mkdir()
    checkpoint = tf.train.Checkpoint(v=tf.Variable(1))
    written = checkpoint.write(str(folder / "c"))
    with pytest.raises(tf.errors.NotFoundError):
        checkpoint.read(written)
    checkpoint.read(plain_path(written)).assert_consumed()


def test_a_home_that_is_there_and_one_that_is_not(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert user_path("~/runs") == Path("/home/me/runs")
    assert user_path("~no.such.user/runs") == Path("~no.such.user/runs")
