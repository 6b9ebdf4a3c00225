"""Files that cannot be read are left out of every kind of data set, held or read while training."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from std_keras import data
from std_keras.config import TrainConfig
from std_keras.data import summary
from std_keras.errors import InputError
from std_keras.runs.run_directory import RunDirectory
from std_keras.training import build


def spoil(path, how):
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "cut and ended": content[: len(content) // 2] + b"\xff\xd9",
            "empty": b"",
            "foreign": b"<html>not found</html>",
        }[how]
    )


@pytest.fixture
def photos(tmp_path):
    """Two classes in train/ and val/, and tables of them; one of each five files is spoilt."""
    random = np.random.default_rng(0)
    folder, rows = tmp_path / "photos", []
    for part in ("train", "val"):
        for label in ("ant", "bee"):
            for number in range(5):
                path = folder / part / label / f"{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = random.integers(0, 255, (24, 32, 3), np.uint8)
                Image.fromarray(noise).save(path, quality=95)
                rows.append((str(path.relative_to(folder)), label, part))
    for place, how in (
        ("train/ant/0", "cut and ended"),
        ("train/bee/1", "cut"),
        ("val/ant/2", "empty"),
        ("val/bee/3", "foreign"),
    ):
        spoil(folder / f"{place}.jpg", how)
    lines = ["path,label,split", *map(",".join, rows)]
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    columns = dict(zip(("path", "label", "split"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), folder / "list.parquet")
    pictures = [
        {"bytes": (folder / path).read_bytes(), "path": path.replace("/", "_")}
        for path, _, _ in rows
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    del columns["path"]
    pq.write_table(pa.table({"image": pa.array(pictures, kind), **columns}), folder / "hub.parquet")
    return folder


@pytest.fixture(
    params=["folder:{}", "csv:{}/list.csv", "parquet:{}/list.parquet", "parquet:{}/hub.parquet"]
)
def name(request, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return request.param.format(photos)


# Pictures in files, and in Parquet, both ways; the two tables of files are alike.
@pytest.mark.parametrize(
    ("name", "cache_gb", "whole_pictures"),
    [
        *itertools.product(["folder:{}", "parquet:{}/hub.parquet"], [1.0, 0.0], [False, True]),
        ("csv:{}/list.csv", 1.0, False),
        ("csv:{}/list.csv", 0.0, True),
        ("parquet:{}/list.parquet", 1.0, True),
        ("parquet:{}/list.parquet", 0.0, False),
    ],
    indirect=["name"],
)
def test_four_files_are_left_out_and_the_rest_is_read(name, cache_gb, whole_pictures):
    loaded = data.load(
        name,
        image_size=8,
        corrupt_images="skip",
        cache_gb=cache_gb,
        whole_pictures=whole_pictures,
    )
    assert (len(loaded.skipped), loaded.train.size, loaded.test.size) == (4, 8, 8)
    for part in (loaded.train, loaded.test):
        images, labels = part.take()
        assert np.bincount(labels).tolist() == [4, 4]
        # Noise has no grey half, which is what a decoder makes of a file that was cut.
        assert (images.astype(int).std(axis=(1, 2, 3)) > 5).all()
    said = summary.skipped(loaded)
    assert said.startswith(f"dataset={name}: left out 4 images that cannot be decoded: ")
    assert all(path in said for path in loaded.skipped)


def test_whoever_looks_at_a_run_hears_of_them_too(photos, tmp_path, caplog):
    config = TrainConfig(
        dataset=f"folder:{photos}", image_size=8, corrupt_images="skip", decoded_dir="none"
    )
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.labels_file.write_text("ant\nbee\n")
    run.config_file.write_text(config.to_json())

    class Model:
        input_shape = (None, 8, 8, 3)

    build.data_of_run(run.path, dataset=None, data_dir=None, model=Model())
    assert caplog.text.count("left out 4 images that cannot be decoded") == 1
    run.config_file.write_text(config.replace(corrupt_images="refuse").to_json())
    assert json.loads(run.config_file.read_text())["corrupt_images"] == "refuse"
    with pytest.raises(InputError, match="repair or remove them$"):  # They have no such option.
        build.data_of_run(run.path, dataset=None, data_dir=None, model=Model())


def test_long_lists_are_cut(photos):
    for number in range(3):
        for label in ("ant", "bee"):
            for part in ("train", "val"):
                (photos / part / label / f"{number}.jpg").write_bytes(b"")
    loaded = data.load(f"folder:{photos}", image_size=8, corrupt_images="skip")
    assert summary.skipped(loaded).endswith(" and 3 more")
    assert len(loaded.skipped) == 13


@pytest.mark.parametrize("cache_gb", [1.0, 0.0])
def test_a_class_and_a_part_that_are_all_unreadable(photos, cache_gb):
    for path in (photos / "train" / "ant").iterdir():
        path.write_bytes(b"")
    options = {"image_size": 8, "corrupt_images": "skip", "cache_gb": cache_gb}
    loaded = data.load(f"folder:{photos}", **options)
    assert any("no image in the train part: ant" in line for line in summary.warnings(loaded))
    for path in (photos / "val").rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="none of the images of the test part"):
        data.load(f"folder:{photos}", **options)
