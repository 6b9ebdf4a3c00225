"""Packed weights: from a run to `std_keras:NAME`, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from std_keras import Run, resize_weights, teachers
from std_keras.config import TrainConfig
from std_keras.errors import InputError
from std_keras.programs import program
from std_keras.programs.main import main
from std_keras.runs import pretrained
from std_keras.runs.packing import card, float16
from std_keras.runs.run_directory import RunDirectory
from std_keras.training import train
from std_keras.weights import ConvertOptions, convert_weights, located
from tests.programs.conftest import eager_functions
from tests.weights import hub_cache
from tests.weights.test_convert import small_arrays

# TensorFlow says of every input pipeline that it is not run as Python.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config")
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained ResNet with BatchNorm statistics of its own."""
    path = tmp_path_factory.mktemp("pack") / "run"
    config = TrainConfig(
        model="cifar_resnet20",
        epochs=1,
        batch_size=32,
        warmup_epochs=0,
        max_train_examples=160,
        max_test_examples=100,
        data_dir="/a/private/place",
    )
    with eager_functions():
        train(config, model_dir=path)
    config = json.loads((path / "config.json").read_text())
    config["decoded_dir"] = "/a/private/place/decoded"
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """An empty place for packed weights."""
    monkeypatch.setattr(pretrained, "folder", lambda: tmp_path / "shelf")
    return tmp_path / "shelf"


@pytest.fixture
def pack(run, shelf, monkeypatch):
    """Runs the command; returns its exit code."""
    monkeypatch.setattr(program.StopRequest, "install", lambda self: None)

    def call(*arguments, source=run, license=True):
        given = ("--license=apache-2.0",) if license else ()
        monkeypatch.setattr(sys, "argv", ["std-keras", "pack", str(source), *given, *arguments])
        with eager_functions():
            return program.run(main)

    return call


@pytest.fixture(scope="module")
def packed(root, run, tmp_path_factory):
    """The folder of packed weights, made once."""
    place = tmp_path_factory.mktemp("packed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program.StopRequest, "install", lambda self: None)
        patch.setattr(
            sys,
            "argv",
            [
                *("std-keras", "pack", str(run), "--name=tiny", f"--output_dir={place}"),
                "--license=apache-2.0",
            ],
        )
        with eager_functions():
            assert program.run(main) == 0
    return place / "tiny"


@pytest.fixture
def tiny(packed, shelf):
    shutil.copytree(packed, shelf / "tiny")
    return shelf / "tiny"


def test_weights_are_those_of_the_run_rounded_to_float16(run, packed):
    before, after = (keras.models.load_model(p / "model.keras") for p in (run, packed))
    for old, new in zip(before.variables, after.variables, strict=True):
        assert old.path == new.path and new.dtype == old.dtype
        expected = old.numpy()
        if "float" in str(old.dtype):
            expected = expected.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(new.numpy(), expected, err_msg=old.path)
    sizes = [(p / "model.keras").stat().st_size for p in (run, packed)]
    assert sizes[1] < 0.6 * sizes[0]


def test_the_folder_says_what_it_is(run, packed):
    assert {p.name for p in packed.iterdir()} == {
        *pretrained.FILES,
        *pretrained.FOR_KERAS,
        pretrained.CHECKSUMS,
        "LICENSE",
    }
    assert (packed / "LICENSE").read_bytes() == (REPOSITORY / "LICENSE").read_bytes()
    config = json.loads((packed / "config.json").read_text())
    assert (config["data_dir"], config["decoded_dir"]) == (None, "decoded")
    card = (packed / "README.md").read_text()
    result = json.loads((run / "result.json").read_text())
    assert f"| as trained, float32 | {result['top1']:.2%} | {result['top5']:.2%} |" in card
    for words in (
        "272,186",
        "8 x 8",
        "--model=cifar_resnet20",
        "CC BY 4.0",
        "The weights: apache-2.0; `LICENSE` has its text.",
        "--seed=0",
    ):
        assert words in card, words
    assert "160 and tested on\n100 examples" in card or "160 and tested on 100 examples" in card
    assert "private" not in card


def test_checksums_are_what_sha256sum_reads(packed):
    for line in (packed / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((packed / name).read_bytes()).hexdigest() == digest


def test_a_teacher_by_name(run, tiny):
    labels = tuple((run / "labels.txt").read_text().splitlines())
    images = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 1)).astype(np.float32)
    logits = [
        teachers.load(teachers.parse(s), image_shape=(8, 8, 1), label_names=labels).logits(images)
        for s in ("std_keras:tiny,site=last", str(run))
    ]
    np.testing.assert_allclose(logits[0], logits[1], atol=0.05)
    assert not np.array_equal(logits[0], logits[1])


def test_evaluate_by_name(run, tiny, capsys, monkeypatch):
    from std_keras.programs import evaluate

    monkeypatch.setattr(program.StopRequest, "install", lambda self: None)
    monkeypatch.setattr(sys, "argv", ["evaluate", "--model_dir=std_keras:tiny"])
    with eager_functions():
        assert program.run(evaluate.main) == 0
    report = json.loads(capsys.readouterr().out)
    result = json.loads((run / "result.json").read_text())
    assert report["examples"] == 100 and abs(report["top1"] - result["top1"]) <= 0.01


@pytest.mark.parametrize("name", ["model.keras", "labels.txt", "README.md"])
def test_a_changed_file_is_refused(tiny, name):
    content = bytearray((tiny / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tiny / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"tiny.*{name} is damaged or was changed"):
        teachers.parse("std_keras:tiny")


def test_a_missing_file_and_a_missing_checksum_are_refused(tiny):
    (tiny / "labels.txt").unlink()
    with pytest.raises(InputError, match="labels.txt cannot be read: No such file"):
        pretrained.located("std_keras:tiny", flag="teacher")
    lines = (tiny / "SHA256SUMS").read_text().splitlines(keepends=True)
    (tiny / "SHA256SUMS").write_text("".join(lines[1:]))
    with pytest.raises(InputError, match=r"has no checksum of model\.keras"):
        pretrained.located("std_keras:tiny", flag="teacher")


@pytest.mark.parametrize("name", ["cifar100_resnet56", "", "../run", "tiny/.."])
def test_weights_that_are_not_there_name_the_command(tiny, name):
    with pytest.raises(InputError) as info:
        teachers.parse(f"std_keras:{name}")
    assert "there are: tiny" in str(info.value) and "std-keras pack RUN_DIRECTORY" in str(
        info.value
    )
    assert f"teacher=std_keras:{name}" in str(info.value)


def test_other_sources_are_left_alone(shelf):
    assert pretrained.located("keras:ResNet50", flag="teacher") == "keras:ResNet50"
    assert pretrained.located("runs/std_keras", flag="teacher") == "runs/std_keras"
    assert pretrained.names() == ()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--name=a/b",), 2, "--name=a/b names a folder"),
        ((), 2, "--name is missing"),
        (("--name=small", "--max_megabytes=0.01"), 4, "more than --max_megabytes=0.01"),
        (("--name=small", "--max_accuracy_drop=-1"), 2, "--max_accuracy_drop=-1.0"),
        (("--name=small", "another/run"), 2, "'another/run' is unexpected"),
        (("--name=small", f"--output_dir={__file__}"), 2, f"--output_dir={__file__} cannot be"),
    ],
)
def test_what_cannot_be_packed(pack, shelf, capsys, arguments, code, message):
    assert pack(*arguments) == code
    assert message in capsys.readouterr().err
    assert not shelf.exists() or not list(shelf.iterdir())


def test_what_was_trained_in_mixed_precision_computes_in_float32(tmp_path):
    layers = [keras.layers.Rescaling(1 / 255, dtype="float32")]
    layers += [keras.layers.Dense(3, dtype="mixed_bfloat16"), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.save(tmp_path / "mixed.keras")
    float16.convert(tmp_path / "mixed.keras", tmp_path / "packed.keras")
    packed = keras.models.load_model(tmp_path / "packed.keras")
    assert [layer.dtype_policy.name for layer in packed.layers] == ["float32"] * 3
    x = np.ones((1, 4), np.float32)
    np.testing.assert_allclose(packed(x), model(x), atol=1e-3)


def test_weights_beyond_float16_are_refused(pack, run, shelf, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "large")
    model = keras.models.load_model(run / "model.keras")
    model.trainable_variables[0].assign(model.trainable_variables[0] * 0 + 1e6)
    model.save(tmp_path / "large" / "model.keras")
    assert pack("--name=large", source=tmp_path / "large") == 4
    assert "too large for float16" in capsys.readouterr().err
    assert not list(shelf.iterdir())


def test_packed_weights_are_not_replaced_unasked(pack, tiny, capsys):
    before = (tiny / "SHA256SUMS").read_bytes()
    assert pack("--name=tiny") == 2
    assert "add --overwrite" in capsys.readouterr().err
    assert (tiny / "SHA256SUMS").read_bytes() == before


def test_an_unfinished_run_is_refused(pack, run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "unfinished")
    (tmp_path / "unfinished" / "result.json").unlink()
    assert pack("--name=new", source=tmp_path / "unfinished") == 2
    assert "is not a finished run directory" in capsys.readouterr().err


def test_weights_that_come_with_the_package_are_whole_and_their_cards_new():
    for name in pretrained.names():
        path = pretrained.folder() / name
        pretrained.verify(path, flag=name)
        expected = card.of_folder(RunDirectory(path), name=name)
        assert (path / "README.md").read_text() == expected, "python -m tools.pretrained_cards"


def test_a_licence_must_be_stated(pack, shelf, capsys):
    assert pack("--name=new", license=False) == 2
    assert "is not stated; say it with --license" in capsys.readouterr().err
    assert pack("--name=new", "--license=my own", license=False) == 2
    assert "cannot be 'my own'" in capsys.readouterr().err
    assert not shelf.exists()


def test_the_card_is_one_of_the_hub(run, packed):
    hub = pytest.importorskip("huggingface_hub")
    about = hub.ModelCard.load(packed / "README.md").data
    assert (about.license, about.library_name) == ("apache-2.0", "keras")
    assert about.pipeline_tag == "image-classification"
    assert "cifar_resnet20" in about.tags
    top1 = next(found for found in about.eval_results if found.metric_name == "top-1")
    evaluated = json.loads((run / "result.json").read_text())["top1"]
    assert top1.metric_value == pytest.approx(evaluated, abs=0.01)
    assert top1.dataset_name == "digits"


@pytest.fixture
def uploaded(packed, tmp_path, monkeypatch):
    """The packed folder in a cache of the hub; its name there."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    files = {file.name: file.read_bytes() for file in packed.iterdir()}
    hub_cache.put(tmp_path / "hf", "ours/tiny", files)
    located._of_hub.cache_clear()
    yield "ours/tiny"
    located._of_hub.cache_clear()


def test_keras_and_this_package_load_it_from_the_hub(packed, uploaded):
    images = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 1)).astype(np.float32)
    expected = keras.models.load_model(packed / "model.keras")(images)
    of_keras = keras.saving.load_model(f"hf://{uploaded}")
    np.testing.assert_array_equal(of_keras(images), expected)
    run = Run(f"hf-hub:{uploaded}")
    assert run.config.model.name == "cifar_resnet20"
    np.testing.assert_array_equal(run.model()(images), expected)


def test_a_changed_file_from_the_hub_is_refused(uploaded, tmp_path):
    (changed,) = (tmp_path / "hf").rglob("labels.txt")
    changed.resolve().write_text("no\n")
    with pytest.raises(InputError, match=r"labels\.txt is damaged or was changed"):
        Run(f"hf-hub:{uploaded}")


def test_converted_weights_keep_their_origin(pack, shelf, tmp_path, capsys):
    np.savez(tmp_path / "mixer.npz", **small_arrays())
    options = {"mean": (0.5,), "std": (0.5,), "dataset": "digits"}
    source = tmp_path / "mixer.npz"
    done = convert_weights(source, output=tmp_path / "run", options=ConvertOptions(**options))
    assert pack("--name=foreign", source=done.run.path, license=False) == 2
    options["license"] = "my-licence-1.0"
    done = convert_weights(source, output=tmp_path / "named", options=ConvertOptions(**options))
    loose = "--max_accuracy_drop=1"
    assert pack("--name=foreign", loose, source=done.run.path, license=False) == 0
    card = (shelf / "foreign" / "README.md").read_text()
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    for words in (
        f"{digest}  mixer.npz",
        "Not trained here",
        "The weights: my-licence-1.0, as their origin states.",
        "mean 0.5 and standard deviation 0.5",
        'license: "other"\nlicense_name: "my-licence-1.0"',
    ):
        assert words in card, words
    assert "std_keras.train" not in card
    assert "apache" not in card.lower()


def tune(start, path, **options):
    """A run of one step that starts from another one."""
    config = TrainConfig(
        initialize_from=str(start),
        epochs=1,
        batch_size=32,
        warmup_epochs=0,
        max_train_examples=32,
        max_test_examples=20,
        **options,
    )
    with eager_functions():
        train(config, model_dir=path)
    return path


def test_a_start_hands_on_origin_and_licence(pack, shelf, tmp_path, capsys):
    np.savez(tmp_path / "mixer.npz", **small_arrays())
    options = {"mean": (0.5,), "std": (0.5,), "dataset": "digits"}
    source = tmp_path / "mixer.npz"
    start = {}
    for license in (None, "my-licence-1.0"):
        given = ConvertOptions(**options, license=license)
        start[license] = tmp_path / (license or "plain")
        convert_weights(source, output=start[license], options=given)
    (start["my-licence-1.0"] / "LICENSE").write_text("Do as you like.\n")
    unknown = tune(start[None], tmp_path / "unknown")
    assert pack("--name=tuned", source=unknown, license=False) == 2
    assert "which are from plain, is not stated; say it with --license" in capsys.readouterr().err

    tuned = tune(start["my-licence-1.0"], tmp_path / "tuned")
    again = tune(tuned, tmp_path / "again")  # The origin stays, however long the way.
    shutil.rmtree(start["my-licence-1.0"])
    loose = "--max_accuracy_drop=1"
    assert pack("--name=tuned", loose, source=again, license=False) == 0
    digests = [
        hashlib.sha256(file.read_bytes()).hexdigest() for file in (tuned / "model.keras", source)
    ]
    card = (shelf / "tuned" / "README.md").read_text()
    for words in (
        "The training started from `tuned` (licence: my-licence-1.0).",
        f"{digests[0]}  model.keras",
        "That started from `my-licence-1.0` (licence: my-licence-1.0).",
        "converted by `std_keras.convert` from `mixer.npz`",
        f"{digests[1]}  mixer.npz",
        "1 epochs, 1 steps",
        "The weights: my-licence-1.0, as their origin states; `LICENSE` has its text.",
    ):
        assert words in card, words
    assert (shelf / "tuned" / "LICENSE").read_text() == "Do as you like.\n"

    # What was packed states the licence that it was packed under.
    begun = tune("std_keras:tuned", tmp_path / "begun")
    origin = json.loads((begun / "result.json").read_text())["origin"]
    assert (origin["source"], origin["license"]) == ("std_keras:tuned", "my-licence-1.0")


def test_a_licence_text_of_ones_own(pack, run, shelf, tmp_path, capsys):
    assert pack("--name=new", "--license_file=no") == 2
    assert "--license_file=no is not there" in capsys.readouterr().err
    (tmp_path / "terms").write_text("Ask first.\n")
    assert pack("--name=new", f"--license_file={tmp_path / 'terms'}") == 0
    assert (shelf / "new" / "LICENSE").read_text() == "Ask first.\n"


def test_a_resized_run_hands_on_its_licence(pack, run, shelf, tmp_path, capsys):
    np.savez(tmp_path / "mixer.npz", **small_arrays())
    options = ConvertOptions(mean=(0.5,), std=(0.5,), dataset="digits", license="mit")
    done = convert_weights(tmp_path / "mixer.npz", output=tmp_path / "run", options=options)
    side = 2 * done.run.read_config().data.image_size
    resized = resize_weights(done.run.path, output=tmp_path / "resized", image_size=side)
    result = resized.run.read_result()
    assert result["origin"]["license"] == "mit"
    assert result["origin"]["origin"]["file"] == "mixer.npz"
    assert (
        pack("--name=large", "--max_accuracy_drop=1", source=resized.run.path, license=False) == 0
    )
    text = (shelf / "large" / "README.md").read_text()
    assert "Not trained here: resized by `std_keras.resize_weights`" in text
    assert "Made by `std_keras.train`" not in text
