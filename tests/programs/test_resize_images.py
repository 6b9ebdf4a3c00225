"""The smaller copy: its pixels, how it goes on, its exit codes, and that training reads it."""

from __future__ import annotations

import io
import os
import signal
import time

import numpy as np
import pytest
from PIL import Image

from std_keras.data import load
from std_keras.data.smaller_copy import write_smaller_copy
from tests import processes


@pytest.fixture
def resize(run_command):
    """Runs the command; returns exit code and what it wrote to standard error."""

    def run(*arguments):
        code, _, said = run_command("resize-images", *arguments)
        return code, said

    return run


def smooth(height, width, seed=0):
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3)).astype(np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path):
    """Two parts with two classes; several shapes and formats, one image that is small already."""
    source = tmp_path / "photos"
    for part in ("train", "val"):
        for seed, name in enumerate(("ant", "bee")):
            folder = source / part / name
            (folder / "deeper").mkdir(parents=True)
            smooth(80, 60, seed).save(folder / "high.jpg", quality=95)
            smooth(50, 90, seed).save(folder / "deeper" / "wide.png")
            smooth(50, 90, seed).save(folder / "deeper" / "wide.bmp")
            smooth(20, 30, seed).save(folder / "small.JPEG", quality=95)
            (folder / ".hidden.jpg").write_bytes(b"not read")
            (folder / "notes.txt").write_text("not an image")
    return source


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name[0] != "."
    }


def test_sizes_names_and_pixels(resize, photos, tmp_path):
    output = tmp_path / "small"
    code, said = resize(f"--source={photos}", f"--output_dir={output}", "--size=24")
    assert code == 0, said
    assert "16 images written, 0 were there" in said
    copied = contents(output)
    assert len(copied) == 16
    assert {name for name in copied if name.startswith("train/ant")} == {
        "train/ant/high.jpg",
        "train/ant/small.JPEG",
        "train/ant/deeper/wide.png",
        "train/ant/deeper/wide.bmp.png",
    }
    sizes = {name: Image.open(io.BytesIO(data)).size for name, data in copied.items()}
    assert sizes["train/ant/high.jpg"] == (24, 32)
    assert sizes["train/ant/deeper/wide.png"] == (43, 24)
    # What is small already is not encoded again.
    assert copied["val/bee/small.JPEG"] == (photos / "val" / "bee" / "small.JPEG").read_bytes()
    expected = smooth(50, 90, 1).resize((43, 24), Image.Resampling.BICUBIC)
    got = Image.open(io.BytesIO(copied["train/bee/deeper/wide.png"]))
    assert np.abs(np.asarray(got).astype(int) - np.asarray(expected)).max() <= 2


def test_the_quality_is_that_of_the_flag(resize, photos, tmp_path):
    for quality in (30, 95):
        code, _ = resize(
            *(f"--source={photos}", f"--output_dir={tmp_path / str(quality)}"),
            *("--size=48", f"--quality={quality}", "--workers=1"),
        )
        assert code == 0
    low, high = (Image.open(tmp_path / q / "train/ant/high.jpg") for q in ("30", "95"))
    assert sum(low.quantization[0]) > 5 * sum(high.quantization[0])
    difference = np.asarray(high).astype(int) - np.asarray(smooth(80, 60).resize((48, 64)))
    assert np.abs(difference).mean() < 3


def test_the_copy_is_a_data_set(resize, photos, tmp_path):
    output = tmp_path / "small"
    assert resize(f"--source={photos}", f"--output_dir={output}", "--size=24")[0] == 0
    data = load(f"folder:{output}", image_size=24)
    assert data.label_names == ("ant", "bee") and (data.train.size, data.test.size) == (8, 8)


def test_the_same_command_again_does_nothing_and_a_newer_file_is_redone(resize, photos, tmp_path):
    flags = (f"--source={photos}", f"--output_dir={tmp_path / 'small'}", "--size=24")
    assert resize(*flags)[0] == 0
    before = contents(tmp_path / "small")
    assert "0 images written, 16 were there" in resize(*flags)[1]
    changed = photos / "train" / "ant" / "high.jpg"
    smooth(80, 60, 9).save(changed)
    later = time.time() + 10
    os.utime(changed, (later, later))
    assert "1 images written, 15 were there" in resize(*flags)[1]
    after = contents(tmp_path / "small")
    assert [name for name in after if after[name] != before[name]] == ["train/ant/high.jpg"]


def test_a_stop_ends_it_early_and_it_goes_on(photos, tmp_path):
    asked = iter([False, False, True])
    first = write_smaller_copy(
        photos, tmp_path / "small", size=24, workers=1, stop=lambda: next(asked, True)
    )
    assert not first.complete and 0 < first.written < 16
    second = write_smaller_copy(photos, tmp_path / "small", size=24)
    assert second.complete and second.kept == first.written
    whole = write_smaller_copy(photos, tmp_path / "whole", size=24)
    assert whole.written == 16
    assert contents(tmp_path / "small") == contents(tmp_path / "whole")


def spoil(photos):
    (photos / "train" / "ant" / "empty.jpg").touch()
    whole = (photos / "train" / "bee" / "high.jpg").read_bytes()
    (photos / "train" / "bee" / "cut.jpg").write_bytes(whole[: len(whole) // 2])


def test_unreadable_images_are_refused_after_the_others_are_written(resize, photos, tmp_path):
    spoil(photos)
    flags = (f"--source={photos}", f"--output_dir={tmp_path / 'small'}", "--size=24")
    code, said = resize(*flags)
    assert code == 2
    assert "error: --source=" in said and "2 of 18 images cannot be decoded" in said
    assert "empty.jpg" in said and "cut.jpg" in said and "--corrupt_images=skip" in said
    assert len(contents(tmp_path / "small")) == 16
    code, said = resize(*flags, "--corrupt_images=skip")
    assert code == 0 and "0 images written, 16 were there, 2 skipped" in said


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"source": "nowhere"}, ["--source=", "no such directory"]),
        ({"size": "0"}, ["--size=0", "between 1 and 65535"]),
        ({"quality": "101"}, ["--quality=101", "between 1 and 100"]),
        ({"output_dir": "photos/copy"}, ["--output_dir=", "outside"]),
        ({"output_dir": "."}, ["--output_dir=", "not contain"]),
        ({"output_dir": "other"}, ["--output_dir=", "holds other files"]),
        ({"output_dir": "other/text.txt/below"}, ["--output_dir=", "cannot be written"]),
        ({"source": "other"}, ["--source=", "no images"]),
        ({"corrupt_images": "maybe"}, ["--corrupt_images"]),
        ({"size": None}, ["--size"]),
    ],
)
def test_bad_flags_exit_2_with_one_sentence(resize, photos, tmp_path, monkeypatch, changes, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "text.txt").write_text("mine")
    values = {"source": "photos", "output_dir": "small", "size": "24", **changes}
    code, said = resize(*(f"--{n}={v}" for n, v in values.items() if v is not None))
    assert code == 2
    assert said.count("\n") == 1 and all(word in said for word in words), said


def test_another_size_in_the_same_directory_is_refused(resize, photos, tmp_path):
    flags = (f"--source={photos}", f"--output_dir={tmp_path / 'small'}")
    assert resize(*flags, "--size=24")[0] == 0
    code, said = resize(*flags, "--size=32")
    assert code == 2 and "begun with --size=24" in said


def start(photos, output):
    flags = (f"--source={photos}", f"--output_dir={output}", "--size=400", "--workers=1")
    return processes.start("-m", "std_keras", "resize-images", *flags)


def wait_for_some(process, output, *, least):
    end = time.monotonic() + 600
    while len(list(output.rglob("*.jpg"))) < least:
        assert time.monotonic() < end and process.poll() is None, process.stderr.read()
        time.sleep(0.02)


def test_killed_and_interrupted_runs_go_on(tmp_path):
    photos, output = tmp_path / "photos", tmp_path / "small"
    photos.mkdir()
    smooth(900, 1000).save(photos / "000.jpg", quality=90)
    first = (photos / "000.jpg").read_bytes()
    for i in range(1, 150):
        (photos / f"{i:03d}.jpg").write_bytes(first)
    for number, least, code in (
        (signal.SIGKILL, 2, -signal.SIGKILL),
        (signal.SIGINT, 30, 75),
    ):
        process = start(photos, output)
        wait_for_some(process, output, least=least)
        process.send_signal(number)
        _, said = process.communicate(timeout=600)
        assert process.returncode == code, said
        assert len(list(output.rglob("*.jpg"))) < 150
    assert "run the same command to continue" in said
    (output / ".unfinished-077.jpg").write_bytes(b"cut off")
    done = write_smaller_copy(photos, output, size=400)
    assert done.complete and done.kept >= 30 and done.kept + done.written == 150
    copies = contents(output)
    assert len(copies) == 150 and len(set(copies.values())) == 1
    assert not (output / ".unfinished-077.jpg").exists()


@pytest.mark.parametrize("size", [24, 200])
def test_photographs_are_turned_upright_whether_large_or_small(tmp_path, size):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "photos").mkdir()
    stored = smooth(80, 60).transpose(Image.Transpose.ROTATE_90)
    for name in ("a.jpg", "b.webp", "c.png"):
        stored.save(tmp_path / "photos" / name, exif=exif, quality=95)
    done = write_smaller_copy(tmp_path / "photos", tmp_path / "copy", size=size)
    assert done.written == 3
    expected = smooth(80, 60) if size > 60 else smooth(80, 60).resize((24, 32))
    for name in ("a.jpg", "b.webp.png", "c.png"):
        with Image.open(tmp_path / "copy" / name) as copy:
            assert 0x0112 not in copy.getexif() and copy.size == expected.size
            difference = np.asarray(copy.convert("RGB")).astype(int) - np.asarray(expected)
            assert np.abs(difference).mean() < 8  # Upside down it is above 40.
