"""The export program: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from sklearn.datasets import load_digits

import std_keras
from std_keras import exporting, models
from std_keras.config import TrainConfig
from std_keras.data import load
from std_keras.errors import InputError, Interrupted, LimitError
from std_keras.exporting.classifying import Classifier
from std_keras.programs.export import main
from std_keras.programs.flag_names import as_flags
from std_keras.programs.program import StopRequest, machine_error
from std_keras.runs import run_directory as rundir
from std_keras.runs.run_directory import RunDirectory
from tests import processes


def write_run(path: Path, model: keras.Model, **config) -> Path:
    """A run directory as training leaves it, as far as an export reads it."""
    path.mkdir(parents=True)
    run = RunDirectory(path)
    run.write_start(
        TrainConfig(dataset="digits", **config),
        label_names=[str(i) for i in range(10)],
        architecture=model.to_json(),
    )
    model.save(run.model_file)
    return path


@pytest.fixture(autouse=True)
def _no_cold_start(monkeypatch):
    """No processes for each file, but for those of `exported`, which is made before this."""
    monkeypatch.setattr(exporting, "cold_start_ms", lambda content: 1.5)


@pytest.fixture(scope="module")
def student_run(tmp_path_factory) -> Path:
    keras.utils.set_random_seed(3)
    student = models.create_student(
        "mixer_s16",
        input_shape=(8, 8, 1),
        num_classes=10,
        patch_size=2,
        width=32,
        depth=2,
        teacher_sites=["last"],
    )
    rng = np.random.default_rng(3)
    kernel = student.get_layer("classification").kernel  # Starts at zero.
    kernel.assign(rng.normal(size=kernel.shape))
    return write_run(tmp_path_factory.mktemp("runs") / "student", student)


@pytest.fixture(scope="module")
def fragile_run(tmp_path_factory) -> Path:
    """A linear classifier of digits that cannot bear int8 activations, exported in a moment.

    Its 128 hidden units are the 64 pixels, and one of 10000 among zeros that has no weight. It
    takes the whole range of the activations, so that the pixels become 0.
    """
    data = load_digits()
    design = np.hstack([data.data, np.ones((len(data.data), 1))])
    solution = np.linalg.lstsq(design, np.eye(10)[data.target], rcond=None)[0]
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Rescaling(16.0 / 255.0)(image)
    x = keras.layers.Dense(128, activation="relu", name="hidden")(keras.layers.Flatten()(x))
    model = keras.Model(image, keras.layers.Dense(10, name="classification")(x), name="fragile")
    bias = np.zeros(128)
    bias[100] = 1e4
    model.get_layer("hidden").set_weights([np.eye(64, 128), bias])
    head = np.zeros((128, 10))
    head[:64] = solution[:64]
    model.get_layer("classification").set_weights([head, solution[64]])
    return write_run(tmp_path_factory.mktemp("runs") / "fragile", model)


def export(run: Path, out: Path, *more: str) -> dict:
    main([f"--model_dir={run}", f"--output_dir={out}", *more], StopRequest())
    return json.loads((out / "report.json").read_text())


def refusal(run: Path, out: Path, *more: str) -> str:
    """What somebody at the command line reads."""
    with pytest.raises(InputError) as caught:
        export(run, out, *more)
    return as_flags(str(caught.value))


@pytest.fixture(scope="module")
def exported(student_run, tmp_path_factory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("out") / "new" / "folder"
    quantization = "--quantization=float32,dynamic"
    return out, export(student_run, out, quantization, "--verify_examples=90")


def test_it_writes_what_it_promises_and_nothing_else(exported):
    out, _ = exported
    assert sorted(path.name for path in out.iterdir()) == [
        "labels.txt",
        "report.json",
        "saved_model",
        "student_dynamic.tflite",
        "student_float32.tflite",
    ]
    assert (out / "labels.txt").read_text().split() == [str(i) for i in range(10)]


def test_files_of_another_model_do_not_stay(student_run, fragile_run, tmp_path):
    few = "--verify_examples=50"
    export(student_run, tmp_path, "--quantization=float32,dynamic", few)
    (tmp_path / "mine.tflite").write_bytes(b"of the user")
    export(student_run, tmp_path, "--quantization=float16", few)
    assert len(list(tmp_path.glob("student_*.tflite"))) == 3, "of the same weights"
    export(student_run, tmp_path, "--quantization=dynamic", few)
    export(fragile_run, tmp_path, "--quantization=float16", few)
    left = sorted(path.name for path in tmp_path.glob("*.tflite"))
    assert left == ["mine.tflite", "student_float16.tflite"]
    assert (tmp_path / "mine.tflite").read_bytes() == b"of the user"


def test_the_files_describe_themselves(exported, student_run):
    out, report = exported
    for quantization in ("float32", "dynamic"):
        path = out / f"student_{quantization}.tflite"
        assert report["tflite"][quantization]["bytes"] == path.stat().st_size
        card = Classifier(path).card
        assert card.labels == tuple(str(i) for i in range(10))
        assert (card.name, card.version) == ("mixer_s16", std_keras.__version__)
        assert (card.image_size, card.channels, card.crop_ratio) == (8, 1, 1.0)
        assert (card.dataset, card.head) == ("digits", report["head"])
        assert (card.top1, card.examples) == (report["keras"]["top1"], 90)


def test_the_crop_of_the_evaluation_is_in_the_file(fragile_run, tmp_path):
    model = keras.models.load_model(fragile_run / "model.keras")
    run = write_run(tmp_path / "run", model, image_size=8, eval_crop_ratio=0.8)
    export(run, tmp_path / "out", "--quantization=float32", "--verify_examples=10")
    assert Classifier(tmp_path / "out" / "student_float32.tflite").card.crop_ratio == 0.8


@pytest.mark.parametrize("quantization", ["float32", "dynamic"])
def test_the_reported_figures_can_be_found_again(exported, student_run, quantization):
    out, report = exported
    test = load("digits").test
    images, labels = test.take()
    chosen = np.arange(90) * test.size // 90
    images, labels = images[chosen], labels[chosen]

    file = out / f"student_{quantization}.tflite"
    serve = Interpreter(model_path=str(file)).get_signature_runner("serving_default")
    logits = np.concatenate([serve(images=image[None])["logits"] for image in images])
    model = keras.models.load_model(student_run / "model.keras")
    expected = np.asarray(model(images.astype(np.float32)))

    found = report["tflite"][quantization]
    assert found["bytes"] == file.stat().st_size
    assert found["top1"] == np.mean(logits.argmax(1) == labels)
    assert report["keras"]["top1"] == np.mean(expected.argmax(1) == labels)
    assert found["accuracy_drop"] == report["keras"]["top1"] - found["top1"]
    # The Keras model runs in other batches here, which rounds differently.
    difference = np.abs(logits - expected).max()
    assert found["max_logit_difference"] == pytest.approx(difference, abs=1e-5)
    assert found["ops"] == exporting.count_ops(file.read_bytes())
    assert 0 < found["latency_ms"] < 1000
    assert 0 < found["latency_ms_2_threads"] < 1000
    assert found["cold_start_ms"] > 0 and found["cold_start_ms"] != 1.5  # Of real processes.
    assert found["xnnpack_partitions"] == 1
    assert found["refused"] is None


def test_the_report_says_what_was_exported(exported, student_run):
    out, report = exported
    assert report["head"] == "average"
    assert report["weights"] == "raw"
    assert report["dataset"] == "digits"
    assert report["examples"] == 90
    assert report["input_type"] == "uint8"
    assert report["machine"]["threads"] == 1
    assert report["machine"]["cpu"]
    model = keras.models.load_model(student_run / "model.keras")
    assert report["keras"]["parameters"] == model.count_params()
    files = [path for path in (out / "saved_model").rglob("*") if path.is_file()]
    assert report["saved_model"]["bytes"] == sum(path.stat().st_size for path in files)
    assert report["saved_model"]["max_logit_difference"] < 1e-5


def test_head_and_input_type(student_run, tmp_path):
    flags = ("--quantization=float32", "--head=distillation_0_last", "--input_type=float32")
    report = export(student_run, tmp_path, *flags, "--verify_examples=10")
    assert (report["head"], report["input_type"]) == ("distillation_0_last", "float32")
    interpreter = Interpreter(model_path=str(tmp_path / "student_float32.tflite"))
    assert interpreter.get_input_details()[0]["dtype"] is np.float32
    assert report["tflite"]["float32"]["max_logit_difference"] < 1e-4


def test_an_accuracy_drop_beyond_the_limit(fragile_run, tmp_path, capsys):
    (tmp_path / "student_dynamic.tflite").write_bytes(b"of an earlier export")
    flags = ("--quantization=dynamic,float16", "--max_accuracy_drop=0.01", "--verify_examples=0")
    with pytest.raises(LimitError, match=r"dynamic\.rejected\.tflite: its top-1 is 0\.8") as e:
        export(fragile_run, tmp_path, *flags)
    assert e.value.exit_code == 4
    assert sorted(path.name for path in tmp_path.glob("*.tflite")) == [
        "student_dynamic.rejected.tflite",
        "student_float16.tflite",  # The files after a refused one are written all the same.
    ]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["keras"]["top1"] > 0.9
    assert report["examples"] == 360
    assert report["tflite"]["dynamic"]["file"] == "student_dynamic.rejected.tflite"
    assert report["tflite"]["float16"]["refused"] is None
    # The layer that reads the activations with the outlier.
    errors = report["tflite"]["dynamic"]["layer_errors"]
    assert [error["layer"] for error in errors] == ["head", "hidden"]
    assert errors[0]["accuracy_drop"] > 0.5 > errors[1]["accuracy_drop"] + 0.4
    assert report["tflite"]["float16"]["layer_errors"] is None
    assert "head costs most" in str(e.value)
    printed = capsys.readouterr().out
    assert "student_dynamic.rejected.tflite, each layer quantised alone" in printed
    # A looser limit takes the file, and the rejected one goes.
    export(fragile_run, tmp_path, "--quantization=dynamic", "--max_accuracy_drop=1")
    names = [path.name for path in tmp_path.glob("student_dynamic*")]
    assert names == ["student_dynamic.tflite"]


@pytest.mark.parametrize(("examples", "warned"), [(49, True), (50, False)])
def test_few_images_to_measure_on_are_told_once(fragile_run, tmp_path, caplog, examples, warned):
    run = tmp_path / "run"
    shutil.copytree(fragile_run, run)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "max_train_examples": examples}))
    export(run, tmp_path / "out", "--quantization=dynamic,int8,int4", "--verify_examples=10")
    assert caplog.text.count("with fewer than 50 its logits are") == warned
    assert ("int8 is measured on 49 different training images" in caplog.text) == warned


def test_int8_is_calibrated_on_training_images(fragile_run, tmp_path, monkeypatch):
    seen = []
    convert = exporting.convert

    def watch(model, **arguments):
        if arguments["quantization"] == "int8":
            seen.append(arguments["representative_images"])
        return convert(model, **arguments)

    monkeypatch.setattr(exporting, "convert", watch)
    report = export(fragile_run, tmp_path, "--quantization=int8", "--verify_examples=50")
    train = load("digits").train
    rows = np.arange(200) * train.size // 200
    np.testing.assert_array_equal(seen[0], train.take()[0][rows])
    assert report["tflite"]["int8"]["ops"]["QUANTIZE"] >= 1


def test_a_stop_between_files_leaves_whole_files(fragile_run, tmp_path, monkeypatch):
    stop = StopRequest()
    convert = exporting.convert

    def interrupt(model, *, quantization, **arguments):
        if quantization == "float16":
            stop.signal = signal.SIGTERM
        return convert(model, quantization=quantization, **arguments)

    monkeypatch.setattr(exporting, "convert", interrupt)
    (tmp_path / "report.json").write_text("of an earlier export")
    with pytest.raises(Interrupted, match="interrupted") as caught:
        main(
            [
                f"--model_dir={fragile_run}",
                f"--output_dir={tmp_path}",
                "--quantization=float32,float16,dynamic",
                "--verify_examples=5",
            ],
            stop,
        )
    assert caught.value.exit_code == 75
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "labels.txt",
        "saved_model",
        "student_float32.tflite",
    ]


def test_a_full_disk_leaves_no_part_of_a_file(fragile_run, tmp_path, monkeypatch):
    real = os.fsync

    def full(descriptor):
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(".tflite"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor)

    monkeypatch.setattr(rundir.os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        export(fragile_run, tmp_path, "--quantization=float32", "--verify_examples=5")
    failure = machine_error(caught.value)
    assert failure is not None
    assert failure.exit_code == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.txt", "saved_model"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--quantization=float32,int2",), r"--quantization=float32,int2: 'int2' is not one of"),
        (("--quantization=",), "--quantization has an empty value"),
        (("--head=distillation_3_last",), "--head=distillation_3_last.*use classification"),
        (("--weights=ema",), "--weights=ema: .*no moving average"),
        (("--max_accuracy_drop=1.5",), "--max_accuracy_drop=1.5 "),
        (("--verify_examples=-1",), "--verify_examples=-1 "),
        (("--input_type=int8",), "input_type.*uint8.*float32"),
        (("--dataset=nothing_like_it",), "--dataset=nothing_like_it"),
    ],
)
def test_bad_flags(student_run, tmp_path, flags, message):
    assert re.search(message, refusal(student_run, tmp_path / "out", *flags))
    assert not (tmp_path / "out").exists()


def test_bad_places(student_run, tmp_path):
    file = tmp_path / "file"
    file.write_text("precious")
    assert re.search(r"--output_dir=.*file is a file", refusal(student_run, file))
    assert re.search(r"--output_dir=.*file is a file", refusal(student_run, file / "below"))
    assert "--output_dir=/proc/nothing" in refusal(student_run, Path("/proc/nothing"))
    assert file.read_text() == "precious"
    said = refusal(tmp_path / "no_run", tmp_path / "out")
    assert re.search(r"--model_dir=.*no such directory", said)


def test_an_unfinished_run_without_a_checkpoint(student_run, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.json", "labels.txt", "architecture.json"):
        (run / name).write_text((student_run / name).read_text())
    with pytest.raises(InputError, match="checkpoint"):
        export(run, tmp_path / "out")


def test_weights_that_are_not_finite(fragile_run, tmp_path):
    model = keras.models.load_model(fragile_run / "model.keras")
    model.get_layer("classification").bias.assign([np.nan] * 10)
    run = write_run(tmp_path / "run", model)
    with pytest.raises(InputError, match="non-finite values"):
        export(run, tmp_path / "out")


def program(*flags: str) -> subprocess.CompletedProcess[str]:
    return processes.run("-m", "std_keras", "export", *flags)


def test_the_program_prints_a_table_and_nothing_of_its_libraries(student_run, tmp_path):
    done = program(
        f"--model_dir={student_run}",
        f"--output_dir={tmp_path}",
        "--quantization=float32",
        "--verify_examples=20",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split()[:3] == ["file", "bytes", "ops"]
    assert "student_float32.tflite" in done.stdout
    lines = [line.split(" ", 1)[1] for line in done.stderr.splitlines()]
    assert lines == [f"writing {tmp_path}/saved_model", "converting to float32"]
    loaded = tf.saved_model.load(str(tmp_path / "saved_model"))
    assert "serving_default" in loaded.signatures


def test_the_program_says_one_sentence_and_exits_2(tmp_path):
    done = program(f"--model_dir={tmp_path / 'no'}", f"--output_dir={tmp_path}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"error: --model_dir={tmp_path / 'no'}: there is no such directory"
    ]
