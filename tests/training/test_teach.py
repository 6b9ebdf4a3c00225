"""From a network of other classes to a run directory of one's own, with the real commands."""

from __future__ import annotations

import importlib
import json
import signal

import keras
import numpy as np
import pytest
from PIL import Image

import std_keras
from std_keras import models, teachers
from std_keras.data import load
from std_keras.errors import InputError, Interrupted
from tests import processes
from tests.training.tiny import as_python

L = keras.layers
teach_module = importlib.import_module("std_keras.training.teach")  # The package has the function.
TINY = {"dataset": "digits", "max_train_examples": 400, "max_test_examples": 100}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Random convolutions: features good enough for digits. It takes 0..1, and has 7 classes."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((None, None, 1))
    values = L.BatchNormalization()(L.Conv2D(48, 3, strides=2)(inputs))
    values = L.Conv2D(128, 2, activation="relu")(L.ReLU()(values))
    values = L.Concatenate()([L.GlobalAveragePooling2D()(values), L.GlobalMaxPooling2D()(values)])
    path = tmp_path_factory.mktemp("network") / "network.keras"
    keras.Model(inputs, L.Dense(7, activation="softmax")(values)).save(path)
    return path


@pytest.fixture(scope="module")
def taught(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "taught"
    return std_keras.teach(f"{network},input=unit", model_dir=folder, backbone_size=8, **TINY)


def test_it_is_a_run_like_any_other(taught):
    found = std_keras.evaluate(taught)
    result = taught.result
    assert found.top1 == result["top1"] > 0.8
    assert found.balanced_accuracy == pytest.approx(result["balanced_accuracy"])
    assert taught.labels == tuple("0123456789")
    assert taught.config.data.image_size == 8
    # Of all layers, as if it had been trained here.
    model = taught.model()
    assert result["parameters"] == models.trainable_parameters(model)
    assert json.loads(json.dumps(result)) == result


def test_what_the_result_says(taught):
    facts = taught.result["taught"]
    assert facts["features"] == 256
    assert facts["held_out"]["examples"] == 80
    assert facts["held_out"]["top1"] > 0.8
    assert facts["penalty"] > 0


def test_it_teaches_with_its_own_pixels(taught):
    images, labels = load("digits").test.take(40)
    spec = teachers.parse(str(taught))
    teacher = teachers.load(spec, image_shape=(8, 8, 1), label_names=taught.labels)
    logits = teacher.logits(images).numpy()
    np.testing.assert_allclose(logits, taught.model()(images), rtol=1e-4, atol=1e-4)
    assert np.mean(logits.argmax(axis=1) == labels) > 0.75


def test_it_is_exported_with_its_classes(taught, tmp_path):
    report = std_keras.export(
        taught, output_dir=tmp_path, quantizations=["float32"], verify_examples=20
    )
    assert report.tflite["float32"].accuracy_drop == 0
    assert (tmp_path / "labels.txt").read_text().split() == list("0123456789")


def test_the_same_again_does_nothing_and_another_is_refused(taught, network):
    before = taught.directory.result_file.stat().st_mtime_ns
    same = {"backbone_size": 8, "model_dir": taught, **TINY}
    std_keras.teach(f"{network},input=unit", **same)
    assert taught.directory.result_file.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="is another run"):
        std_keras.teach(f"{network},input=byte", **same)
    with pytest.raises(InputError, match="is another run"):
        std_keras.teach(f"{network},input=unit", **{**same, "max_train_examples": 300})


def test_what_moved_is_the_same(network, tmp_path):
    random = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(8):
            picture = Image.fromarray(random.integers(0, 255, (8, 8), np.uint8))
            picture.save(tmp_path / "photos" / name / f"{number}.png")
    weights = tmp_path / "network.keras"
    keras.Sequential([L.Input((8, 8, 3)), L.Flatten(), L.Dense(3)]).save(weights)

    def teach(photos, weights):
        return std_keras.teach(
            f"{weights},input=unit",
            model_dir=tmp_path / "run",
            dataset=f"folder:{photos}",
            test_fraction=0.25,
            decoded_dir="none",
        )

    before = teach(tmp_path / "photos", weights).result
    photos = (tmp_path / "photos").rename(tmp_path / "moved")
    weights = weights.rename(tmp_path / "moved.keras")
    assert teach(f"{photos}/", weights).result == before
    keras.Sequential([L.Input((8, 8, 3)), L.Flatten(), L.Dense(3)]).save(tmp_path / "other.keras")
    with pytest.raises(InputError, match="another run"):
        teach(photos, tmp_path / "other.keras")
    (photos / "ant" / "0.png").unlink()
    with pytest.raises(InputError, match="another run"):
        teach(photos, weights)


def test_a_validation_part_chooses_the_penalty_and_is_not_learned(network, tmp_path):
    run = std_keras.teach(
        f"{network},input=unit,size=8", model_dir=tmp_path / "r", validation_fraction=0.3, **TINY
    )
    held_out = run.result["taught"]["held_out"]
    assert held_out["from"] == "validation"
    found = std_keras.evaluate(run, split="validation")
    assert found.examples == held_out["examples"]
    assert found.top1 == pytest.approx(held_out["top1"])


def test_killed_before_the_run_is_whole_it_begins_again(network, tmp_path):
    """kill -9 when `model.keras` and `result.json` are there, and `config.json` is not."""
    call = {"backbone_size": 8, **TINY, "max_train_examples": 100}
    script = f"""
import os, signal
import std_keras
from std_keras.runs.run_directory import RunDirectory

RunDirectory.write_start = lambda *arguments, **options: os.kill(os.getpid(), signal.SIGKILL)
std_keras.teach("{network},input=unit", model_dir="{tmp_path / "run"}", **{call})
"""
    done = processes.run("-c", script)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (tmp_path / "run" / "result.json").is_file()
    (tmp_path / "run" / ".model.part.keras").write_bytes(b"cut off")
    run = std_keras.teach(f"{network},input=unit", model_dir=tmp_path / "run", **call)
    assert run.labels == tuple("0123456789")
    assert not (tmp_path / "run" / ".model.part.keras").exists()


def test_what_cannot_be_taught(network, tmp_path):
    folder = {"model_dir": tmp_path / "r"}
    with pytest.raises(InputError, match="`epochs` does not apply"):
        std_keras.teach(str(network), epochs=3, **folder)
    with pytest.raises(InputError, match="backbone=.* add ,input="):
        std_keras.teach(str(network), **TINY, **folder)
    with pytest.raises(InputError, match=r"at least two classes, and an image of each"):
        std_keras.teach(f"{network},input=unit", dataset="digits", max_train_examples=5, **folder)
    with pytest.raises(Interrupted):
        std_keras.teach(
            f"{network},input=unit", backbone_size=8, **TINY, **folder, stop=lambda: True
        )
    assert not (tmp_path / "r" / "config.json").exists()


def test_pictures_are_seen_alike_wherever_they_are(tmp_path, monkeypatch):
    """Their size is not looked at: a folder, a table and a set of the hub hold photographs."""
    seen = {}

    def fit(run, backbone, size, config, **_):
        augmentation = config.augmentation
        seen[config.data.dataset.partition(":")[0]] = (
            augmentation.crop,
            augmentation.eval_crop_ratio,
        )

    monkeypatch.setattr(teach_module, "_fit_head", fit)
    for dataset in ("folder:x", "csv:x.csv", "parquet:x.parquet", "hf:x/y", "digits", "cifar100"):
        std_keras.teach("network.keras", model_dir=tmp_path / "run", dataset=dataset)
    photographs = {"folder", "csv", "parquet", "hf"}
    assert {name for name, options in seen.items() if options == ("resized", 0.875)} == photographs
    assert seen["digits"] == seen["cifar100"] == (None, None)  # As every training has it.


def test_data_is_looked_at_before_anything_is_downloaded(tmp_path, monkeypatch):
    def download(**_):
        raise AssertionError("it was loaded")

    download.__module__ = "keras.src.applications.resnet"
    monkeypatch.setattr(keras.applications, "ResNet50", download)
    with pytest.raises(InputError, match="no directory"):
        std_keras.teach(
            "keras:ResNet50", model_dir=tmp_path / "r", dataset=f"folder:{tmp_path}/none"
        )


def test_fine_tuning_goes_on_from_the_head_and_continues(network, tmp_path):
    call = {
        "model_dir": tmp_path / "r",
        "backbone_size": 8,
        "fine_tune_epochs": 2,
        "batch_size": 50,
        "learning_rate": 2e-5,
        **TINY,
    }
    first = std_keras.Run(tmp_path / "r/linear_head")

    def after_a_checkpoint():
        return any((tmp_path / "r/checkpoints").glob("*.index"))

    with pytest.raises(Interrupted):
        std_keras.teach(f"{network},input=unit", **call, stop=after_a_checkpoint)
    start = first.model()
    run = std_keras.teach(f"{network},input=unit", **call)
    result = run.result
    assert (result["steps"], result["epochs"]) == (16, 2)
    assert result["taught"]["linear_head_top1"] == first.result["top1"]
    before, after = start.get_weights(), run.model().get_weights()
    moved = [np.abs(a - b).max() > 0 for a, b in zip(before, after, strict=True)]
    # The batch normalisation alone has four weights, which stay.
    assert (sum(moved), len(moved)) == (len(moved) - 4, 10)
    found = std_keras.evaluate(run)
    assert found.top1 == result["top1"] > first.result["top1"] - 0.05
    assert std_keras.teach(f"{network},input=unit", **call).result == result


def test_a_batch_that_is_too_large_is_refused_before_features_are_computed(
    network, tmp_path, monkeypatch
):
    monkeypatch.setattr("std_keras.training.new_head.load_backbone", None)
    call = {"model_dir": tmp_path / "r", "fine_tune_epochs": 1, "batch_size": 640, **TINY}
    with pytest.raises(InputError, match="batch_size=640 is larger than the training set of 400"):
        std_keras.teach(f"{network},input=unit", **call)


def test_options_of_the_fine_tuning_need_it(network, tmp_path):
    with pytest.raises(InputError, match="`learning_rate` needs `fine_tune_epochs`"):
        std_keras.teach(str(network), model_dir=tmp_path / "r", learning_rate=0.1, **TINY)


def test_a_network_from_elsewhere_trains_on_its_own_images_and_classes_alone(taught, tmp_path):
    def refused(**options):
        config = std_keras.TrainConfig(
            **{**TINY, "epochs": 1, "batch_size": 50, "initialize_from": str(taught), **options}
        )
        with pytest.raises(InputError) as info:
            std_keras.train(config, model_dir=tmp_path / "r")
        return str(info.value)

    assert "use image_size=8" in refused(image_size=16)
    assert "`width` does not apply to" in refused(width=8)
    assert "keeps its precision" in refused(mixed_precision=True)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A run of one step: a student with a token set."""
    folder = tmp_path_factory.mktemp("runs")
    tiny = {"width": 16, "depth": 2, "patch_size": 2, "epochs": 1, "batch_size": 50, **TINY}
    tiny["max_train_examples"] = 50
    with as_python():
        teacher = std_keras.train(std_keras.TrainConfig(**tiny), model_dir=folder / "teacher")
        config = std_keras.TrainConfig(**tiny, teacher=(str(teacher),), distillation="hard")
        return std_keras.train(config, model_dir=folder / "student")


def test_a_student_of_ours_stays_one(student, tmp_path):
    run = std_keras.teach(str(student), model_dir=tmp_path / "taught", **TINY)
    options = run.config.model
    assert (options.name, options.width, options.depth, options.patch_size) == (
        "mixer_s16",
        16,
        2,
        2,
    )
    before, after = student.model(), run.model()
    for layer in after.layers:
        if layer.name != "classification":
            for ours, theirs in zip(
                layer.get_weights(), before.get_layer(layer.name).get_weights(), strict=True
            ):
                np.testing.assert_array_equal(ours, theirs)
    # So it is a start like any other: other patches, other token mixing, and token sets.
    teacher = student.config.distillation.teachers
    config = std_keras.TrainConfig(
        initialize_from=str(run),
        patch_size=1,
        token_mlp_dim=8,
        teacher=teacher,
        distillation="hard",
        epochs=1,
        batch_size=50,
        **{**TINY, "max_train_examples": 50},
    )
    with as_python():
        begun = std_keras.train(config, model_dir=tmp_path / "begun")
    assert begun.model().get_layer("block_0").token_mlp_dim == 8
    assert len(models.head_names(begun.model())) == 2


def test_batch_norms_of_ours_stay_fixed_when_it_is_fine_tuned(tmp_path):
    options = {"model": "cifar_resnet20", "depth": 8, "epochs": 1, "batch_size": 50, **TINY}
    config = std_keras.TrainConfig(**{**options, "max_train_examples": 50})
    with as_python():
        trained = std_keras.train(config, model_dir=tmp_path / "trained")
    tiny = {**TINY, "max_train_examples": 64}

    def after_a_checkpoint():
        return any((tmp_path / "r/checkpoints").glob("*.index"))

    call = {"model_dir": tmp_path / "r", "fine_tune_epochs": 2, **tiny}
    with pytest.raises(Interrupted):
        std_keras.teach(str(trained), **call, stop=after_a_checkpoint)
    run = std_keras.teach(str(trained), **call)  # It continues.
    assert run.config.model.name == "cifar_resnet20"
    before, after = std_keras.Run(tmp_path / "r/linear_head").model(), run.model()
    for one, two in zip(before.layers, after.layers, strict=True):
        same = [
            np.array_equal(a, b) for a, b in zip(one.get_weights(), two.get_weights(), strict=True)
        ]
        if isinstance(one, keras.layers.BatchNormalization):
            assert all(same) and len(same) == 4
        elif one.trainable_variables:
            assert not all(same), one.name
