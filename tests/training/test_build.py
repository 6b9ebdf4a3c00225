"""From a configuration to data and a model."""

from __future__ import annotations

import dataclasses
import shutil

import keras
import numpy as np
import pytest

from std_keras import models, progress
from std_keras.config import TrainConfig
from std_keras.data import Source, folder_content
from std_keras.errors import InputError
from std_keras.runs.run_directory import RunDirectory
from std_keras.training import build

SMALL = TrainConfig(
    model="mixer_s16", patch_size=4, width=8, depth=2, max_train_examples=100, max_test_examples=30
)


@pytest.fixture(scope="module")
def dataset():
    return build.load_data(SMALL)


def test_data_is_cut_and_its_validation_part_is_not(dataset):
    assert (dataset.train.size, dataset.test.size) == (100, 30)
    assert dataset.validation is None
    held_out = build.load_data(SMALL.replace(validation_fraction=0.5))
    assert held_out.train.size == 100
    assert held_out.validation.size == round(1437 / 2)


def test_the_seed_decides_the_weights(dataset):
    def weights(seed):
        model = build.build_model(SMALL.replace(seed=seed), dataset)
        return [w.copy() for w in model.get_weights()]

    first, again, other = weights(3), weights(3), weights(4)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_without_distillation_the_teachers_make_no_token_sets(dataset):
    config = SMALL.replace(teacher=("runs/nowhere,site=both",))
    assert models.head_names(build.build_model(config, dataset)) == ("classification",)
    student = build.build_model(config.replace(distillation="hard"), dataset)
    assert models.head_names(student) == (
        "classification",
        "distillation_0_intermediate",
        "distillation_0_last",
    )
    assert build.default_head(student) == "average"


def test_mixed_precision_computes_in_bfloat16_and_leaves_the_global_policy(dataset):
    before = keras.config.dtype_policy()
    model = build.build_model(SMALL.replace(mixed_precision=True), dataset)
    assert model.get_layer("block_0").compute_dtype == "bfloat16"
    assert {str(v.dtype) for v in model.trainable_variables} == {"float32"}
    assert keras.config.dtype_policy() == before


@pytest.mark.parametrize("mixed_precision", [False, True])
def test_teachers_compute_in_the_precision_of_the_run(dataset, tmp_path, mixed_precision):
    model = models.create("cifar_resnet20", depth=8, input_shape=(8, 8, 1), num_classes=10)
    model.save(tmp_path / "teacher.keras")
    teacher = (f"{tmp_path / 'teacher.keras'},input=byte",)
    config = TrainConfig(distillation="hard", teacher=teacher, mixed_precision=mixed_precision)
    (loaded,) = build.load_teachers(
        config.distillation, dataset, performance=config.performance, view_sizes=(8,)
    )
    precisions = {layer.compute_dtype for layer in loaded.model.layers}
    assert precisions == ({"float32", "bfloat16"} if mixed_precision else {"float32"})
    assert not any("BatchNorm" in type(layer).__name__ for layer in loaded.model.layers)


def test_the_normalisation_of_the_data_is_in_the_model(dataset):
    layer = build.build_model(SMALL, dataset).get_layer("normalization")
    np.testing.assert_allclose(layer(np.array([[[[0.0]], [[255.0]]]]))[0, :, 0, 0], [-1.0, 1.0])


# The data of a run


@pytest.fixture
def run(tmp_path, dataset):
    run = RunDirectory(tmp_path / "run")
    run.prepare()
    run.write_start(SMALL, label_names=dataset.label_names, architecture="{}")
    yield run
    run.release()


@pytest.fixture(scope="module")
def model(dataset):
    return build.build_model(SMALL, dataset)


@pytest.fixture
def image_folder(tmp_path):
    """Ten classes with the names of the digits, two grey images each."""
    from PIL import Image

    for part in ("train", "val"):
        for name in "0123456789":
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for index in range(2):
                Image.new("RGB", (8, 8), (20 * index, 0, 0)).save(folder / f"{index}.png")
    return tmp_path / "images"


def of_run(run, model, dataset=None):
    return build.data_of_run(run.path, dataset=dataset, data_dir=None, model=model)


def test_the_runs_own_data(run, model):
    loaded = of_run(run, model)
    assert (loaded.name, loaded.train.size, loaded.test.size) == ("digits", 100, 30)


@pytest.fixture
def folder_run(tmp_path, monkeypatch, image_folder):
    """A run on a folder that was named relatively, and its model."""
    monkeypatch.chdir(tmp_path)
    name = f"folder:{image_folder.name}"
    config = TrainConfig(dataset=name, image_size=8, validation_fraction=0.5)
    run = RunDirectory(tmp_path / "run")
    run.prepare()
    loaded = build.load_data(config)
    run.write_start(
        config,
        label_names=loaded.label_names,
        architecture="{}",
        examples={**loaded.sizes, **folder_content.facts(name)},
    )
    coloured = models.create(
        "mixer_s16", input_shape=(8, 8, 3), num_classes=10, patch_size=4, width=8, depth=1
    )
    yield run, coloured
    run.release()


def test_a_relative_folder_from_elsewhere_says_what_to_give(
    folder_run, tmp_path, monkeypatch, image_folder
):
    run, coloured = folder_run
    assert of_run(run, coloured).validation.size == 10
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(InputError, match="dataset=folder:images, on which .*dataset=folder:PATH"):
        of_run(run, coloured)
    loaded = of_run(run, coloured, f"folder:{image_folder}")
    assert loaded.validation.size == 10, "the same images are cut as the run cut them"
    moved = image_folder.rename(elsewhere / "moved")
    assert of_run(run, coloured, f"folder:{moved}").validation.size == 10


@pytest.mark.parametrize(
    "place", ["folder:{}/nope", "folder:{}/file", "{}/nope.npz", "csv:{}/nope"]
)
def test_data_that_is_not_there_gets_a_sentence(folder_run, tmp_path, place):
    run, coloured = folder_run
    (tmp_path / "file").touch()
    dataset = place.format(tmp_path)
    for ask in (
        lambda: of_run(run, coloured, dataset),
        lambda: build.at_place(run.read_config(), run, dataset),
    ):
        with pytest.raises(
            InputError, match=f"dataset={dataset}: {tmp_path}/.* is not (there|a fo)"
        ):
            ask()


def test_parts_that_are_cut_from_other_images_get_a_warning(folder_run, image_folder, monkeypatch):
    """What was learned from may be among what is held out now."""
    run, coloured = folder_run
    said = []
    monkeypatch.setattr(progress, "warn", said.append)
    of_run(run, coloured)
    assert said == []
    shutil.copy(image_folder / "train" / "7" / "0.png", image_folder / "train" / "7" / "new.png")
    for dataset in (None, "folder:images"):
        of_run(run, coloured, dataset)
    assert len(said) == 2
    assert all("so validation_fraction=0.5 holds out others now" in line for line in said)


def test_a_replay_takes_the_runs_own_images_where_they_are(folder_run, image_folder, tmp_path):
    run, _ = folder_run
    config = run.read_config()
    assert build.at_place(config, run, None) == config
    moved = image_folder.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="say where the images are with dataset=folder:PATH"):
        build.at_place(config, run, None)
    assert build.at_place(config, run, f"folder:{moved}").data.dataset == f"folder:{moved}"
    (moved / "train" / "7" / "0.png").unlink()
    with pytest.raises(InputError, match="its images are not those of dataset=folder:images"):
        build.at_place(config, run, f"folder:{moved}")


def test_other_data_must_have_the_shape_and_the_classes(run, model, image_folder):
    with pytest.raises(InputError, match=r"dataset=folder:.*\(8, 8, 3\).*\(8, 8, 1\)"):
        of_run(run, model, f"folder:{image_folder}")
    coloured = models.create(
        "mixer_s16", input_shape=(8, 8, 3), num_classes=10, patch_size=4, width=8, depth=1
    )
    loaded = of_run(run, coloured, f"folder:{image_folder}")
    assert (loaded.train.size, loaded.test.size) == (20, 20), "the other set is not cut"
    (image_folder / "train" / "7").rename(image_folder / "train" / "seven")
    (image_folder / "val" / "7").rename(image_folder / "val" / "seven")
    with pytest.raises(InputError, match=r"dataset=folder:.*7, seven"):
        of_run(run, coloured, f"folder:{image_folder}")


def test_class_weights_are_of_the_training_images(dataset):
    assert build.class_weights(SMALL, dataset) == ()
    balanced = SMALL.replace(class_weights="balanced")
    counts = np.bincount(dataset.train.labels(), minlength=10)
    np.testing.assert_allclose(
        build.class_weights(balanced, dataset), counts.sum() / (10 * counts), rtol=1e-6
    )


def test_class_weights_need_labels_before_the_images_are_read(dataset):
    class Streamed(Source):
        shuffled = sequential = decode = split = None

    streamed = dataclasses.replace(dataset, train=Streamed())
    with pytest.raises(InputError, match="class_weights=balanced .*raise `cache_gb`"):
        build.class_weights(SMALL.replace(class_weights="balanced"), streamed)
