"""Work that is stopped while it reads pictures or tries teachers, before anything is trained."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import Future

import numpy as np
import pytest
from PIL import Image

import std_keras
from std_keras import progress
from std_keras.data import files, load
from std_keras.errors import Interrupted
from std_keras.training.check_teacher import check_teacher
from std_keras.training.precompute import precompute
from tests.training.tiny import config

COUNT = 40


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for part in ("train", "val"):
        for name in ("ant", "bee"):
            (folder / part / name).mkdir(parents=True)
            for i in range(COUNT // 2):
                pixels = np.full((8, 8, 3), 4 * i, np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{i}.png")
    return f"folder:{folder}"


@pytest.mark.parametrize("streamed", [False, True])
def test_files_that_wait_in_line_are_left_unread(pictures, monkeypatch, streamed):
    read, let_go = [], threading.Event()
    read_file, cancel = files.FileSource._read_file, Future.cancel

    def read_slowly(self, path):
        read.append(path)
        if len(read) > 1:
            let_go.wait(timeout=10)  # Until one of those behind it will not be read.
        return read_file(self, path)

    def cancel_and_let_go(self):
        cancelled = cancel(self)
        let_go.set()
        return cancelled

    monkeypatch.setattr(files.FileSource, "_read_file", read_slowly)
    monkeypatch.setattr(Future, "cancel", cancel_and_let_go)
    options = {"cache_gb": 0, "corrupt_images": "skip"} if streamed else {}
    with pytest.raises(Interrupted, match="interrupted while (reading|checking) train images"):
        load(pictures, image_size=8, progress=progress.stoppable(lambda: True), **options)
    assert len(read) < COUNT


@pytest.mark.parametrize(
    "work",
    [
        lambda chosen, path, stop: std_keras.train(chosen, model_dir=path / "run", stop=stop),
        lambda chosen, path, stop: std_keras.teach(
            "std_keras:cifar100_cpu_student",
            dataset=chosen.data.dataset,
            decoded_dir="none",
            model_dir=path / "run",
            stop=stop,
        ),
        lambda chosen, path, stop: check_teacher(chosen, stop=stop),
        lambda chosen, path, stop: precompute(
            chosen.replace(teacher_cache=str(path / "cache")), stop=stop
        ),
    ],
    ids=["train", "teach", "check_teacher", "precompute"],
)
def test_it_ends_while_pictures_are_read_and_leaves_nothing(pictures, tmp_path, work):
    chosen = config(
        dataset=pictures,
        image_size=8,
        decoded_dir="none",
        teacher=("std_keras:cifar100_cpu_airbench94",),
        distillation="soft",
    )
    with pytest.raises(Interrupted, match="interrupted while (reading|checking) train images"):
        work(chosen, tmp_path, lambda: True)
    assert not any(path.is_file() and path.name != ".lock" for path in tmp_path.rglob("*"))


def test_a_slow_teacher_is_not_tried_to_the_end(tmp_path):
    teacher = std_keras.train(config(max_train_examples=64), model_dir=tmp_path / "teacher")
    asked = itertools.count()
    with pytest.raises(Interrupted, match="interrupted while a teacher was tried; run the same"):
        # With each of the three batches of images that are read, before the teacher, then before
        # each of its batches.
        check_teacher(
            config(teacher=(str(teacher),), distillation="soft"), stop=lambda: next(asked) == 6
        )
