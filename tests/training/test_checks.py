"""What a run that continues refuses."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from std_keras import data, progress
from std_keras.config import TrainConfig
from std_keras.data import evaluation_batches, folder_content
from std_keras.data.files import FileSource
from std_keras.data.limit import limited
from std_keras.errors import InputError
from std_keras.runs.origin import started_from
from std_keras.runs.run_directory import RunDirectory
from std_keras.teachers import parse
from std_keras.teachers.identity import identity
from std_keras.training import build
from std_keras.training.checks import check_same_run, refuse_damaged_data, slow_choice
from tests.results import result


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", validation_fraction=0.1)


@pytest.fixture
def begin(tmp_path, digits):
    """Begins a run on the digits; older runs did not write how many examples there were."""

    def write(*, examples=digits.sizes):
        run = RunDirectory(tmp_path / "run")
        run.prepare()
        run.write_start(
            TrainConfig(epochs=3),
            label_names=digits.label_names,
            architecture="{}",
            examples=examples,
        )
        return run

    return write


def test_the_same_data_and_options_continue(begin, digits):
    check_same_run(begin(), TrainConfig(epochs=3, log_every_steps=7), digits)


def test_an_older_run_that_does_not_say_its_sizes_continues(begin, digits):
    check_same_run(begin(examples=None), TrainConfig(epochs=3), limited(digits, train=7, test=0))


def test_other_options_are_named(begin, digits):
    with pytest.raises(InputError, match="other options .*epochs"):
        check_same_run(begin(), TrainConfig(epochs=4), digits)


def test_other_classes_are_refused(begin, digits):
    swapped = dataclasses.replace(digits, label_names=digits.label_names[::-1])
    with pytest.raises(InputError, match="classes differ from"):
        check_same_run(begin(), TrainConfig(epochs=3), swapped)


def test_a_training_set_of_another_size_is_refused(begin, digits):
    """Its epochs would end at other steps, and its order be another, without a word."""
    run, fewer = begin(), limited(digits, train=digits.train.size - 1, test=0)
    with pytest.raises(InputError, match=f"train split has {digits.train.size - 1} .*had 12"):
        check_same_run(run, TrainConfig(epochs=3), fewer)
    grown = dataclasses.replace(digits, validation=None)
    with pytest.raises(InputError, match="validation split has 0 examples"):
        check_same_run(run, TrainConfig(epochs=3), grown)
    # More to test on changes nothing that was trained.
    check_same_run(run, TrainConfig(epochs=3), limited(digits, train=0, test=10))


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("mixed_precision", [False, True])
def test_what_is_slow_on_a_cpu_is_named(monkeypatch, jit_compile, mixed_precision, gpu):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["one"] if gpu else [])
    config = TrainConfig(jit_compile=jit_compile, mixed_precision=mixed_precision)
    said = slow_choice(config, tf.distribute.get_strategy())
    if jit_compile and mixed_precision and not gpu:
        assert "jit_compile=False is faster" in said
    else:
        assert said is None


def test_more_epochs_on_a_finished_run_names_the_way_to_go_on(begin, digits):
    run = begin()
    run.write_result(result())
    with pytest.raises(InputError, match=f"epochs=3, now 9.*initialize_from={run.path}"):
        check_same_run(run, TrainConfig(epochs=9), digits)


# Images in a folder that has moved


@pytest.fixture
def pictures(tmp_path):
    for part in ("train", "val"):
        for name in ("ant", "bee"):
            folder = tmp_path / "pictures" / part / name
            folder.mkdir(parents=True)
            for index in range(2):
                pixels = np.full((4, 4, 3), 40 * index, np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "pictures"


def folder_config(place):
    return TrainConfig(dataset=f"folder:{place}", image_size=4, batch_size=2)


def begin_on(tmp_path, place, *, facts=True):
    run = RunDirectory(tmp_path / "run")
    run.prepare()
    loaded = build.load_data(folder_config(place))
    recorded = folder_content.facts(f"folder:{place}") if facts else {}
    run.write_start(
        folder_config(place),
        label_names=loaded.label_names,
        architecture="{}",
        examples={**loaded.sizes, **recorded},
    )
    return run


def check_on(run, place, loaded=None):
    """`loaded`: what is in the folder, if it is at hand."""
    check_same_run(run, folder_config(place), loaded or build.load_data(folder_config(place)))


@pytest.mark.parametrize("facts", [True, False])  # Older runs recorded none.
def test_a_folder_goes_by_its_content(tmp_path, monkeypatch, pictures, facts):
    run = begin_on(tmp_path, pictures, facts=facts)
    loaded = build.load_data(folder_config(pictures))
    check_on(run, f"{pictures}/", loaded)
    monkeypatch.chdir(tmp_path)
    check_on(run, "pictures", loaded)
    check_on(run, "./pictures/../pictures", loaded)
    moved = tmp_path / "else[where]"
    pictures.rename(moved)
    check_on(run, moved)
    monkeypatch.chdir(moved)
    check_on(run, ".", loaded)


def write_list(file, pictures):
    lines = [
        f"{path.relative_to(file.parent)},{path.parent.name},{path.parts[-3]}"
        for path in sorted(pictures.rglob("*.png"))
    ]
    file.write_text("\n".join(["path,label,split", *lines]) + "\n")


def check_list(run, file):
    options = folder_config("").replace(dataset=f"csv:{file}")
    check_same_run(run, options, build.load_data(options))


def test_a_list_goes_by_its_content(tmp_path, pictures):
    whole = tmp_path / "whole"
    whole.mkdir()
    pictures = pictures.rename(whole / "pictures")
    write_list(whole / "list.csv", pictures)
    options = folder_config("").replace(dataset=f"csv:{whole}/list.csv")
    loaded = build.load_data(options)
    run = RunDirectory(tmp_path / "run")
    run.prepare()
    run.write_start(
        options,
        label_names=loaded.label_names,
        architecture="{}",
        examples={**loaded.sizes, **folder_content.facts(options.data.dataset)},
    )
    moved = whole.rename(tmp_path / "moved")
    check_list(run, moved / "list.csv")
    head, *lines = (moved / "list.csv").read_text().splitlines()
    for other in (lines[::-1], [*lines[1:], lines[0].replace(",ant,", ",bee,")]):
        (moved / "other.csv").write_text("\n".join([head, *other]) + "\n")
        with pytest.raises(InputError, match=r"other.csv: its images are not those .*list.csv"):
            check_list(run, moved / "other.csv")


@pytest.mark.parametrize("inside", [True, False])
def test_a_list_of_absolute_paths_goes_by_what_is_below(tmp_path, pictures, inside):
    """The list is written anew where the pictures went to."""

    def write(folder):
        file = (folder if inside else tmp_path) / f"{folder.name}.csv"
        lines = [f"{p},{p.parent.name},{p.parts[-3]}" for p in sorted(folder.rglob("*.png"))]
        file.write_text("\n".join(["path,label,split", *lines]) + "\n")
        return f"csv:{file}"

    before = folder_content.facts(write(pictures))
    moved = pictures.rename(tmp_path / "moved")
    assert folder_content.has_content_of(write(moved), before)
    (moved / "val" / "bee" / "0.png").rename(moved / "val" / "bee" / "9.png")
    assert not folder_content.has_content_of(write(moved), before)


def test_a_list_of_mixed_paths_is_that_of_relative_ones(tmp_path, pictures):
    write_list(pictures / "list.csv", pictures)
    before = folder_content.facts(f"csv:{pictures}/list.csv")
    text = (pictures / "list.csv").read_text()
    (pictures / "list.csv").write_text(text.replace("\ntrain/ant", f"\n{pictures}/train/ant"))
    assert folder_content.has_content_of(f"csv:{pictures}/list.csv", before)


def test_other_images_of_the_same_count_are_refused(tmp_path, monkeypatch, pictures):
    monkeypatch.chdir(tmp_path)
    run = begin_on(tmp_path, "pictures")
    other = tmp_path / "other" / "pictures"
    shutil.copytree(pictures, other)
    (other / "train" / "ant" / "0.png").rename(other / "train" / "ant" / "9.png")
    monkeypatch.chdir(other.parent)  # The name is the same, the place is not.
    with pytest.raises(InputError, match="dataset=folder:pictures: its images are not those"):
        check_on(run, "pictures")


def changed_at_its_end(file):
    """Another content of the same length."""
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("listed", [False, True])
def test_other_contents_of_the_same_names_and_sizes_are_noticed(tmp_path, pictures, listed):
    def named(folder):
        if not listed:
            return f"folder:{folder}"
        write_list(folder / "list.csv", folder)
        return f"csv:{folder / 'list.csv'}"

    facts = folder_content.facts(named(pictures))
    other = tmp_path / "other"
    shutil.copytree(pictures, other)
    assert folder_content.has_content_of(named(other), facts)
    changed_at_its_end(other / "val" / "bee" / "0.png")
    assert not folder_content.has_content_of(named(other), facts)
    assert folder_content.contents(named(other)) != facts["file_contents"]
    del facts["file_contents"]  # As older runs recorded it.
    assert folder_content.has_content_of(named(other), facts)
    for folder, same in (pictures, True), (other, False):
        ends = [
            hashlib.sha256(Path(file.path).read_bytes()[-4096:]).digest()
            for file in folder_content._pictures(named(folder))
        ]
        facts["file_ends"] = hashlib.sha256(b"".join(ends)).hexdigest()
        assert folder_content.has_content_of(named(pictures), facts) is same


@pytest.mark.parametrize("ending", ["bmp", "png", "ppm", "tiff"])
def test_a_picture_that_is_replaced_in_its_place_is_noticed(tmp_path, ending):
    """By one of the same size in bytes that differs at the top alone."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    file = tmp_path / "train" / "ant" / f"0.{ending}"
    file.parent.mkdir(parents=True)
    Image.fromarray(pixels).save(file)
    before, facts = file.read_bytes(), folder_content.facts(f"folder:{tmp_path}")
    pixels[:2] ^= 255
    Image.fromarray(pixels).save(file)
    after = file.read_bytes()
    assert len(before) == len(after)
    assert (before[-4096:] == after[-4096:]) is (ending in ("ppm", "tiff"))
    assert not folder_content.has_content_of(f"folder:{tmp_path}", facts)
    file.write_bytes(before)
    assert folder_content.has_content_of(f"folder:{tmp_path}", facts)


def test_an_image_that_was_repaired_gets_a_warning(tmp_path, monkeypatch, pictures):
    run = begin_on(tmp_path, pictures)
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(
        pictures / "train" / "ant" / "0.png"
    )
    said = []
    monkeypatch.setattr(progress, "warn", said.append)
    check_on(run, pictures)
    assert len(said) == 1
    assert "some images changed" in said[0]


def test_a_teacher_that_moved_is_the_same(tmp_path, digits):
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    model.save(tmp_path / "teacher.keras")

    def options(teacher):
        return TrainConfig(distillation="hard", teacher=(teacher,))

    begun = f"{tmp_path}/teacher.keras,input=byte"
    run = RunDirectory(tmp_path / "run")
    run.prepare()
    run.write_start(
        options(begun),
        label_names=digits.label_names,
        architecture="{}",
        teachers=[identity(parse(begun))],
    )
    (tmp_path / "teacher.keras").rename(tmp_path / "moved.keras")
    check_same_run(run, options(f"{tmp_path}/moved.keras,input=byte"), digits)
    with pytest.raises(InputError, match="other options .*teacher="):
        check_same_run(run, options(f"{tmp_path}/moved.keras,input=unit"), digits)
    model.set_weights([weights + 1 for weights in model.get_weights()])
    model.save(tmp_path / "other.keras")
    with pytest.raises(InputError, match="other options .*teacher="):
        check_same_run(run, options(f"{tmp_path}/other.keras,input=byte"), digits)


def test_a_teacher_that_was_trained_anew_gets_a_warning(tmp_path, digits, monkeypatch):
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    model.save(tmp_path / "teacher.keras")
    teacher = f"{tmp_path}/teacher.keras,input=byte"
    options = TrainConfig(distillation="hard", teacher=(teacher,))
    run = RunDirectory(tmp_path / "run")
    run.prepare()
    run.write_start(
        options,
        label_names=digits.label_names,
        architecture="{}",
        teachers=[identity(parse(teacher))],
    )
    said = []
    monkeypatch.setattr(progress, "warn", said.append)
    check_same_run(run, options, digits)
    assert said == []
    model.set_weights([weights + 1 for weights in model.get_weights()])
    model.save(tmp_path / "teacher.keras")
    check_same_run(run, options, digits)
    assert len(said) == 1 and "its file changed" in said[0]
    (tmp_path / "teacher.keras").unlink()  # With a full cache a run needs none.
    check_same_run(run, options, digits)
    assert len(said) == 1


def test_names_of_a_teachers_classes_that_moved_are_the_same(tmp_path, digits):
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]).save(
        tmp_path / "teacher.keras"
    )
    names = list(digits.label_names)
    (tmp_path / "names.txt").write_text("\n".join(names))

    def options(labels):
        return TrainConfig(
            distillation="hard",
            teacher=(f"{tmp_path}/teacher.keras,input=byte,labels={tmp_path / labels}",),
        )

    run = RunDirectory(tmp_path / "run")
    run.prepare()
    begun = options("names.txt")
    run.write_start(
        begun,
        label_names=digits.label_names,
        architecture="{}",
        teachers=[identity(parse(begun.distillation.teachers[0]))],
    )
    (tmp_path / "names.txt").rename(tmp_path / "moved.txt")
    check_same_run(run, options("moved.txt"), digits)
    (tmp_path / "moved.txt").write_text("\n".join(names[::-1]))
    with pytest.raises(InputError, match="other options .*teacher="):
        check_same_run(run, options("moved.txt"), digits)


def test_a_start_that_moved_is_the_same(tmp_path, digits):
    start = tmp_path / "start"
    start.mkdir()
    (start / "config.json").write_text("{}")
    RunDirectory(start).write_result(result())
    (start / "model.keras").write_bytes(b"weights")

    def options(start):
        return TrainConfig(initialize_from=str(start))

    run = RunDirectory(tmp_path / "run")
    run.prepare()
    run.write_start(
        options(start),
        label_names=digits.label_names,
        architecture="{}",
        origin=started_from(str(start), RunDirectory(start), file=start / "model.keras"),
    )
    moved = start.rename(tmp_path / "moved")
    check_same_run(run, options(moved), digits)
    (moved / "model.keras").write_bytes(b"others")
    with pytest.raises(InputError, match="initialize_from="):
        check_same_run(run, options(moved), digits)
    with pytest.raises(InputError, match="initialize_from="):
        check_same_run(run, options(tmp_path / "nowhere"), digits)


def test_a_teacher_and_a_start_named_relatively_are_the_same(tmp_path, monkeypatch, digits):
    for name in ("teacher,1", "start"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)

    def options(teacher, start):
        return TrainConfig(distillation="hard", teacher=(teacher,), initialize_from=start)

    run = RunDirectory(tmp_path / "run")
    run.prepare()
    run.write_start(
        options("teacher,1,site=both", "start"), label_names=digits.label_names, architecture="{}"
    )
    check_same_run(run, options(f"{tmp_path}/teacher,1/,site=both", f"{tmp_path}/start"), digits)
    with pytest.raises(InputError, match="teacher="):
        check_same_run(run, options("teacher,1,site=last", "start"), digits)
    with pytest.raises(InputError, match="initialize_from="):
        check_same_run(run, options("teacher,1,site=both", "teacher,1"), digits)


def cut_off(path):
    path.write_bytes(path.read_bytes()[:60])


def a_folder(path):
    path.unlink()
    path.mkdir()


def a_link_to_itself(path):
    path.unlink()
    path.symlink_to(path)


@pytest.fixture
def streamed(tmp_path, digits):
    """Three pictures as the training part, streamed; a damaged one fails in the pipeline."""
    paths = [tmp_path / name for name in ("a.png", "b.jpg", "c.bmp")]
    for path in paths:
        Image.fromarray(np.full((9, 9, 3), 77, np.uint8)).save(path)
    source = FileSource([*map(str, paths)], np.zeros(3, np.int32), image_size=8)
    parts = {"train": source, "validation": None, "test": source.subset(np.arange(0))}
    return paths, dataclasses.replace(digits, **parts)


@pytest.mark.parametrize(
    ("damage", "place"),
    [*((cut_off, i) for i in range(3)), (Path.unlink, 0), (a_folder, 1), (a_link_to_itself, 2)],
)
def test_an_error_of_a_damaged_picture_names_it(streamed, damage, place):
    paths, dataset = streamed
    batches = evaluation_batches(dataset.train, batch_size=3)
    damage(paths[place])  # Before the iterator is made, which reads ahead.
    with pytest.raises(tf.errors.OpError) as info:
        next(iter(batches))
    with pytest.raises(InputError, match=rf"1 image\(s\) cannot be decoded.*{paths[place].name}"):
        refuse_damaged_data(dataset, info.value)


@pytest.mark.parametrize(
    "kind", [tf.errors.UnavailableError, tf.errors.InternalError, tf.errors.ResourceExhaustedError]
)
def test_after_other_errors_no_picture_is_decoded(streamed, monkeypatch, kind):
    """A lost worker, a compiler, full memory: none of them comes from a picture."""
    paths, dataset = streamed
    cut_off(paths[0])
    monkeypatch.setattr(FileSource, "find_corrupt", None)
    refuse_damaged_data(dataset, kind(None, None, "something else"))
