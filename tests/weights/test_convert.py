"""Converted run directories: what they say, and that every program reads them."""

from __future__ import annotations

import hashlib
import json
import random
import time

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from std_keras import models, teachers, training
from std_keras.config import TrainConfig
from std_keras.data import load
from std_keras.errors import InputError
from std_keras.exporting.sample import sample
from std_keras.programs import evaluate, export, flag_names
from std_keras.programs.program import StopRequest
from std_keras.runs.keras_file import load_keras_file
from std_keras.runs.run_directory import RunDirectory
from std_keras.runs.trained import load_trained
from std_keras.weights import ConvertOptions, PartialLoadError, convert_weights
from std_keras.weights.convert import convert as convert_file
from std_keras.weights.convert import said

DIGITS = tuple("0123456789")
SMALL = {"patch_size": 4, "width": 8, "depth": 2}


def small_arrays(*, classes=10, channels=1, seed=0):
    """A Mixer on 8 x 8 pixels in timm's names."""
    width, patches = 8, 4
    shapes = {"stem.proj.weight": (width, channels, 4, 4), "stem.proj.bias": (width,)}
    for i in range(2):
        for norm in ("norm1", "norm2"):
            shapes |= {f"blocks.{i}.{norm}.{name}": (width,) for name in ("weight", "bias")}
        for part, size, inner in (("tokens", patches, 4), ("channels", width, 32)):
            name = f"blocks.{i}.mlp_{part}"
            shapes |= {f"{name}.fc1.weight": (inner, size), f"{name}.fc1.bias": (inner,)}
            shapes |= {f"{name}.fc2.weight": (size, inner), f"{name}.fc2.bias": (size,)}
    shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
    shapes |= {"head.weight": (classes, width), "head.bias": (classes,)}
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}


@pytest.fixture
def convert(tmp_path):
    """Converts arrays; they stand in an .npz file, since their names say what they are."""

    def run(arrays, *, name="run", **more):
        path = tmp_path / "source.npz"
        np.savez(path, **arrays)
        options = {"model": "mixer_s16", "options": SMALL, "mean": (0.5,), "std": (0.5,), **more}
        return convert_weights(path, output=tmp_path / name, options=ConvertOptions(**options))

    return run


@pytest.fixture
def digits_run(convert):
    return convert(small_arrays(), dataset="digits").run.path


def test_more_blocks_than_any_published_model_has(convert, monkeypatch):
    """Nothing is built of it: that would take minutes."""
    arrays = small_arrays()
    block = {name: value for name, value in arrays.items() if name.startswith("blocks.0.")}
    for number in range(2, 201):
        arrays |= {name.replace("blocks.0.", f"blocks.{number}."): v for name, v in block.items()}
    monkeypatch.setattr("std_keras.weights.convert.explained_weights", None)
    with pytest.raises(InputError, match=r"has a depth of 201, which no published"):
        convert(arrays)


def test_the_run_directory_says_where_it_is_from(convert, tmp_path):
    done = convert(small_arrays())
    run = RunDirectory(tmp_path / "run")
    result = run.read_result()
    assert result["top1"] is None
    assert result["parameters"] == models.trainable_parameters(load_trained(run.path))
    origin = result["origin"]
    assert origin["kind"] == "converted"
    assert origin["file"] == "source.npz"
    assert origin["sha256"] == hashlib.sha256((tmp_path / "source.npz").read_bytes()).hexdigest()
    assert (origin["layout"], origin["format"]) == ("timm", "npz")
    assert origin["loaded"] == len(done.report.loaded) == len(small_arrays())
    assert run.read_labels() == DIGITS
    config = run.read_config()
    assert (config.model.name, config.data.image_size) == ("mixer_s16", 8)
    assert (config.model.patch_size, config.model.width, config.model.depth) == (4, 8, 2)


def test_the_same_weights_give_the_same_bytes(convert, monkeypatch):
    first = convert(small_arrays()).run.model_file.read_bytes()
    later = time.localtime(time.time() + 1e6)
    monkeypatch.setattr(time, "localtime", lambda *_: later)
    assert convert(small_arrays(), name="again").run.model_file.read_bytes() == first


def test_evaluate_reads_it(digits_run, capsys):
    evaluate.main([f"--model_dir={digits_run}"], StopRequest())
    report = json.loads(capsys.readouterr().out)
    assert report["head"] == "classification"
    images, labels = sample(load("digits").test, 0)
    predicted = load_trained(digits_run).predict(images, verbose=0).argmax(1)
    assert report["top1"] == pytest.approx(np.mean(predicted == labels))


def test_export_reads_it(digits_run, tmp_path):
    arguments = [
        f"--model_dir={digits_run}",
        f"--output_dir={tmp_path / 'out'}",
        "--quantization=float32",
        "--verify_examples=8",
    ]
    export.main(arguments, StopRequest())
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["weights"] == "raw"
    assert report["saved_model"]["max_logit_difference"] < 1e-4


def test_it_teaches(digits_run, tmp_path):
    teacher = teachers.load(
        teachers.parse(f"{digits_run},site=both"), image_shape=(8, 8, 1), label_names=DIGITS
    )
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1))
    expected = load_trained(digits_run)(pixels)
    np.testing.assert_allclose(teacher.logits(pixels), expected, atol=1e-5)
    config = TrainConfig(
        dataset="digits",
        **SMALL,
        epochs=1,
        batch_size=32,
        max_train_examples=32,
        max_test_examples=16,
        distillation="hard",
        teacher=(str(digits_run),),
    )
    result = training.train(config, model_dir=tmp_path / "student").result
    assert set(result["heads"]) >= {"classification", "distillation_0_last", "average"}


def test_other_class_names_are_refused_as_a_teacher(convert, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"digit {i}\n" for i in range(10)))
    run = convert(small_arrays(), labels=labels).run
    assert run.read_labels()[3] == "digit 3"
    with pytest.raises(InputError, match="'digit 0'"):
        teachers.load(teachers.parse(str(run.path)), image_shape=(8, 8, 1), label_names=DIGITS)


def test_without_a_data_set_one_must_be_given(convert, capsys):
    run = convert(small_arrays()).run.path
    with pytest.raises(InputError, match="dataset`? is missing"):
        evaluate.main([f"--model_dir={run}"], StopRequest())
    evaluate.main([f"--model_dir={run}", "--dataset=digits", "--max_examples=8"], StopRequest())
    assert json.loads(capsys.readouterr().out)["examples"] == 8


def test_training_does_not_go_on_in_it(digits_run):
    config = RunDirectory(digits_run).read_config()
    with pytest.raises(InputError, match="is a finished run"):
        training.train(config.replace(epochs=1), model_dir=digits_run)


@pytest.mark.parametrize(
    ("change", "missing", "unused"),
    [
        (lambda a: a.pop("norm.bias"), ["final_norm/beta"], []),
        (lambda a: a.update(extra=np.ones(3)), [], ["extra"]),
        (
            lambda a: a.update({"blocks.1.norm1.weight": np.ones(9)}),
            ["block_1/token_norm/gamma"],
            [],
        ),
    ],
)
def test_partial_loads_are_refused_unless_asked_for(convert, tmp_path, change, missing, unused):
    arrays = small_arrays()
    change(arrays)
    with pytest.raises(PartialLoadError, match=r"`allow_partial`") as error:
        convert(arrays)
    assert list(error.value.report.missing) == missing
    assert list(error.value.report.unused) == unused
    assert not (tmp_path / "run" / "config.json").exists()
    done = convert(arrays, allow_partial=True)
    assert done.report == error.value.report
    origin = done.run.read_result()["origin"]
    assert list(origin["missing"]) == missing
    assert origin["unused"] == unused


def test_sizes_come_from_the_file(convert, tmp_path):
    arrays = small_arrays()
    arrays |= {n.replace("blocks.1", "blocks.2"): v for n, v in arrays.items() if "blocks.1" in n}
    done = convert(arrays, options={})
    assert done.architecture == "mixer_s16 with patch_size=4, width=8, depth=3"
    config = RunDirectory(tmp_path / "run").read_config().model
    assert (config.patch_size, config.width, config.depth) == (4, 8, 3)
    with pytest.raises(InputError, match=r"depth=2 contradicts .*depth=3"):
        convert(arrays, name="other")
    less = convert(arrays, name="less", allow_partial=True)
    assert set(less.report.unused) == {name for name in arrays if "blocks.2" in name}


def test_another_number_of_classes_leaves_the_head_new(convert, tmp_path):
    with pytest.raises(PartialLoadError, match=r"classification/kernel .*\(8, 10\).*\(8, 3\)"):
        convert(small_arrays(), num_classes=3)
    done = convert(small_arrays(), num_classes=3, allow_partial=True)
    assert list(done.report.missing) == ["classification/kernel", "classification/bias"]
    assert load_trained(tmp_path / "run").output_shape == (None, 3)


def test_a_file_without_a_head(convert):
    arrays = {name: value for name, value in small_arrays().items() if "head" not in name}
    with pytest.raises(InputError, match="`num_classes` is missing"):
        convert(arrays)
    with pytest.raises(PartialLoadError, match="classification/kernel"):
        convert(arrays, num_classes=4)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"mean": (0.5, 0.5)}, r"mean=0\.5,0\.5.*1 channel"),
        ({"mean": None, "std": None}, r"mean=.*1 channel"),
        ({"num_classes": 0}, "num_classes=0 must"),
        ({"layout": "google"}, "has no .*its names are those of layout=timm .*, and layout=auto"),
        (
            {"layout": "google", "model": None, "options": {}},
            "is not of layout=google; its names are those of layout=timm",
        ),
        ({"file_format": "torch"}, "not one that torch.save writes"),
        ({"site": "last"}, "site=last"),
        ({"options": {"patch_size": 3}}, "patch_size=3"),
        ({"options": {"shortcut": "identity"}}, "`shortcut` does not apply"),
        ({"options": {**SMALL, "width": 9}}, r"width=9 contradicts .*width=8; leave `width` out"),
    ],
)
def test_what_does_not_fit_gets_a_sentence(convert, tmp_path, more, words):
    with pytest.raises(InputError, match=words):
        convert(small_arrays(), **more)
    assert not (tmp_path / "run" / "config.json").exists()


def test_values_that_are_not_finite_are_refused(convert):
    arrays = small_arrays()
    arrays["norm.bias"][2] = np.nan
    with pytest.raises(InputError, match="non-finite values for final_norm/beta"):
        convert(arrays)


def test_labels_must_fit(convert, tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match="2 lines, the model has 10 classes"):
        convert(small_arrays(), labels=tmp_path / "labels.txt")
    with pytest.raises(InputError, match="cannot be read"):
        convert(small_arrays(), labels=tmp_path / "none.txt")


def test_a_data_set_names_the_classes(convert, tmp_path):
    for name in "zebra", "ape":
        (tmp_path / "photos" / "train" / name).mkdir(parents=True)
    arrays = small_arrays(classes=2)
    done = convert(arrays, dataset=f"folder:{tmp_path / 'photos'}", data_dir=str(tmp_path))
    assert done.run.read_labels() == ("ape", "zebra")
    assert done.run.read_config().data.data_dir == str(tmp_path)
    with pytest.raises(InputError, match="dataset=digits has 10 classes, the weights have 2"):
        convert(arrays, name="other", dataset="digits")


def test_a_folder_with_something_in_it_is_not_written_to(convert, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="output=.*not an empty folder"):
        convert(small_arrays())
    with pytest.raises(InputError, match="output=.*not an empty folder"):
        convert(small_arrays(), name="source.npz")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_a_model_that_the_numbers_do_not_explain(tmp_path):
    """Two arrays of a megabyte whose shapes ask for a matrix of 90 billion numbers."""
    arrays = {"stem.proj.weight": np.zeros((300_000, 3, 1, 1), np.float32)}
    for part, shape in (
        ("norm1.weight", (4,)),
        ("mlp_tokens.fc1.weight", (2, 4)),
        ("mlp_channels.fc1.weight", (300_000, 1)),
    ):
        arrays[f"blocks.0.{part}"] = np.zeros(shape, np.float32)
    arrays["head.bias"] = np.zeros(10, np.float32)
    path = tmp_path / "model.safetensors"
    save_file(arrays, path)
    message = r"describes a model of 90,0\d\d,\d{3},\d{3} weights or more, but"
    with pytest.raises(InputError, match=message):
        convert_file(path, output=tmp_path / "run", mean=(0.5,), std=(0.5,))
    assert not (tmp_path / "run").exists()


def test_arrays_without_numbers_tell_nothing(tmp_path):
    arrays = {"stem.proj.weight": np.zeros((10**9, 0, 1, 1), np.float32)}
    arrays |= {f"blocks.{n}.mlp_tokens.fc1.weight": np.zeros((0, 4)) for n in range(3000)}
    save_file(arrays, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="none of the known layouts; it begins with no array"):
        convert_file(tmp_path / "model.safetensors", output=tmp_path / "run")


def test_what_a_file_says_of_itself_is_not_shown_as_flags(tmp_path):
    path = tmp_path / "mixer.safetensors"
    save_file(small_arrays(), path, metadata={"format": "pt", "license": "mit"})
    done = convert_file(path, output=tmp_path / "run", mean=(0.5,), std=(0.5,))
    line = next(line for line in said(done) if "of itself" in line)
    flag_names.know(["format", "license"])
    try:
        assert flag_names.as_flags(line) == "the file says of itself: format: pt, license: mit"
    finally:
        flag_names.know(())


def test_one_of_several_files_is_called_so(tmp_path):
    arrays = {name: a for name, a in small_arrays().items() if name.startswith("blocks")}
    path = tmp_path / "model-00001-of-00002.safetensors"
    save_file(arrays, path)
    with pytest.raises(InputError, match=r"one of several files .* name their index"):
        convert_file(path, output=tmp_path / "run")


def test_the_numbers_that_others_draw_go_on(convert):
    """New weights are the same every time, whatever was drawn before, and nobody notices."""
    arrays = small_arrays()
    del arrays["head.weight"], arrays["head.bias"]
    kernels = []
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        wanted = random.random(), np.random.random(), float(keras.random.uniform(()))
        keras.utils.set_random_seed(seed)
        done = convert(arrays, name=f"run{seed}", num_classes=10, allow_partial=True)
        assert (random.random(), np.random.random(), float(keras.random.uniform(()))) == wanted
        kernels.append(load_keras_file(done.run.model_file).get_layer("classification").kernel)
    np.testing.assert_array_equal(*kernels)
