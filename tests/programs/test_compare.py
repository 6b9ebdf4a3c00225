"""`std-keras compare` and its function, on runs of seconds."""

from __future__ import annotations

import json
import shutil

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import std_keras
from std_keras import exporting
from std_keras.data import load
from std_keras.errors import InputError
from std_keras.exporting import export as export_module
from std_keras.exporting import timing

# `eagerly` does not apply to the functions of tf.data, which TensorFlow says.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the .*run_functions_eagerly")
KINDS = "--quantization=float32,dynamic"


@pytest.fixture(scope="module", autouse=True)
def _short_times():
    """No process of its own for each file: tests/exporting/test_timing.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "cold_start_ms", lambda content, *, processes: 1.5)
        patch.setattr(exporting, "cold_start_ms", lambda content: 1.5)
        yield


@pytest.fixture(scope="module")
def compared(digits_runs, tmp_path_factory):
    """The folder that one comparison of all three runs left, and what it returned."""
    out = tmp_path_factory.mktemp("compared")
    found = std_keras.compare(
        [digits_runs[name] for name in ("teacher", "student", "baseline")],
        output_dir=out,
        quantizations=("float32", "dynamic"),
        budget_mb=0.5,
    )
    return out, found


def test_teacher_student_and_student_without_teacher(compared):
    _, found = compared
    assert [(f.run, f.role, f.quantization) for f in found.files] == [
        (run, role, kind)
        for run, role in (
            ("teacher", "teacher"),
            ("student", "student"),
            ("baseline", "without teacher"),
        )
        for kind in ("float32", "dynamic")
    ]
    images, labels = load("digits").test.take()
    chosen = np.arange(60) * len(images) // 60
    images, labels = images[chosen], labels[chosen]
    for file in found.files:
        assert file.bytes == file.file.stat().st_size
        assert file.latency_ms > 0 and file.latency_ms_2_threads > 0 and file.cold_start_ms == 1.5
        serve = Interpreter(model_path=str(file.file)).get_signature_runner("serving_default")
        said = np.array([serve(images=image[None])["logits"][0].argmax() for image in images])
        assert file.top1 == np.mean(said == labels)
        own = [np.mean(said[labels == c] == c) for c in np.unique(labels)]
        assert file.balanced_accuracy == pytest.approx(np.mean(own))


def test_what_it_leaves(compared):
    out, found = compared
    content = json.loads((out / "compare.json").read_text())
    assert content == json.loads(json.dumps(found.as_dict()))
    assert content["budget_mb"] == 0.5
    page = (out / "report.html").read_text()
    assert "Which file to ship" in page and "student dynamic" in page
    assert content["verdict"].split(":")[0] in page


def test_an_export_of_the_same_weights_is_used_again(
    compared, digits_runs, tmp_path, run_command, monkeypatch
):
    out, _ = compared
    shutil.copytree(out, tmp_path / "again")

    def never(*_, **__):
        raise AssertionError("it was exported again")

    monkeypatch.setattr(export_module, "export", never)
    code, said, error = run_command(
        "compare", *digits_runs.values(), f"--output_dir={tmp_path / 'again'}", KINDS
    )
    assert code == 0, error
    assert error.count("its export in") == 3
    assert (
        said.splitlines()[-1]
        == json.loads((tmp_path / "again" / "compare.json").read_text())["verdict"]
    )
    assert "student dynamic" in said and "without teacher" in said


def test_an_export_of_other_weights_is_not(compared, digits_runs, tmp_path):
    out, _ = compared
    shutil.copytree(out / "exports" / "baseline", tmp_path / "out" / "exports" / "teacher")
    found = std_keras.compare(
        [digits_runs["teacher"]], output_dir=tmp_path / "out", quantizations=("dynamic",)
    )
    report = json.loads((tmp_path / "out" / "exports" / "teacher" / "report.json").read_text())
    assert report["model_dir"] == str(digits_runs["teacher"])
    assert [f.quantization for f in found.files] == ["dynamic"]
    assert found.files[0].role == "without teacher"
    assert found.ship is found.files[0]


def test_folders_of_exports_do_too(compared, tmp_path):
    out, found = compared
    again = std_keras.compare(
        [out / "exports" / "student", out / "exports" / "teacher"], output_dir=tmp_path
    )
    assert [(f.run, f.role) for f in again.files] == [
        ("student", "student"),
        ("student", "student"),
        ("teacher", "teacher"),
        ("teacher", "teacher"),
    ]
    assert [f.top1 for f in again.files] == [found.files[i].top1 for i in (2, 3, 0, 1)]


def changed(folder, to, **changes):
    shutil.copytree(folder, to)
    report = json.loads((to / "report.json").read_text())
    for name, value in changes.items():
        if value is None:
            del report[name]
        else:
            report[name] = value
    (to / "report.json").write_text(json.dumps(report))
    return to


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"examples": 59}, "other test images \\(60, 59\\)"),
        ({"dataset": "folder:/photos"}, "other images \\(digits, /photos\\)"),
        ({"split_from": "val/"}, "other test images from"),
        ({"split_from": None}, "made by an old version; name the run directory"),
    ],
)
def test_what_was_checked_on_other_images_is_refused(compared, tmp_path, changes, words):
    out, _ = compared
    other = changed(out / "exports" / "student", tmp_path / "other", **changes)
    with pytest.raises(InputError, match=words):
        std_keras.compare([out / "exports" / "teacher", other], output_dir=tmp_path / "out")


def test_other_classes_are_refused(compared, tmp_path):
    out, _ = compared
    other = changed(out / "exports" / "student", tmp_path / "other")
    (other / "labels.txt").write_text("one\n" * 10)
    with pytest.raises(InputError, match="other classes \\(0, 1, 2, ..., one, one, one, ...\\)"):
        std_keras.compare([out / "exports" / "teacher", other], output_dir=tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("no_such",), "no_such is neither a run directory"),
        (("no_such.keras",), "no_such.keras does not exist"),
        ((), "RUN is missing"),
        (("{teacher}", "--budget_mb=0"), "--budget_mb=0.0 must be a number above 0"),
        (("{teacher}", "--budget_ms=-1"), "--budget_ms=-1.0 must be a number above 0"),
        (("{teacher}", "--quantization=int2"), "--quantization=int2: 'int2' is not one of"),
        (("{teacher}", "--best_by=size"), "best_by"),
    ],
)
def test_bad_input_is_one_line(run_command, digits_runs, arguments, words, tmp_path):
    given = [a.format(**digits_runs) for a in arguments]
    code, said, error = run_command("compare", *given, f"--output_dir={tmp_path}")
    assert code == 2 and said == ""
    assert words in error and len(error.splitlines()) == 1


def test_it_stops_when_asked(digits_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "in_turns", lambda *_, **__: pytest.fail("it went on"))
    with pytest.raises(std_keras.errors.Interrupted):
        std_keras.compare([digits_runs["teacher"]], output_dir=tmp_path, stop=lambda: True)
    assert not (tmp_path / "compare.json").exists()


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A Keras classifier of digits that takes 0..1 and gives probabilities; no labels beside it."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    model.compile("adam", "sparse_categorical_crossentropy")
    images, labels = load("digits").train.take(400)
    model.fit(images / np.float32(255), labels, epochs=8, verbose=0)
    path = tmp_path_factory.mktemp("elsewhere") / "plain.keras"
    model.save(path)
    return path


def test_any_keras_classifier_stands_beside_runs(
    classifier, compared, digits_runs, tmp_path, run_command
):
    student = digits_runs["student"]
    arguments = [
        "compare",
        student,
        f"{classifier},input=unit",
        f"--labels={student}/labels.txt",
        f"--output_dir={tmp_path}",
        "--quantization=float32",
    ]
    code, said, error = run_command(*arguments)
    assert code == 0, error
    files = json.loads((tmp_path / "compare.json").read_text())["files"]
    assert [(f["run"], f["role"]) for f in files] == [
        ("student", "student"),
        ("plain", "elsewhere"),
    ]
    assert files[1]["bytes"] == (tmp_path / "exports/plain/student_float32.tflite").stat().st_size
    # The test images of the student's run, and the network as Keras runs it.
    images, labels = load("digits").test.take()
    chosen = np.arange(60) * len(images) // 60
    said_by_keras = keras.saving.load_model(classifier).predict(
        images[chosen] / np.float32(255), verbose=0
    )
    assert files[1]["top1"] == np.mean(said_by_keras.argmax(axis=1) == labels[chosen])
    # Again: nothing is exported, since the weights are the same.
    code, said, error = run_command(*arguments)
    assert code == 0 and error.count("its export in") == 2, error
    assert "plain float32" in said


def test_of_a_file_in_a_run_directory_the_run_says_everything(compared, digits_runs, tmp_path):
    _, before = compared
    run = tmp_path / "some_student"
    shutil.copytree(digits_runs["student"], run)
    found = std_keras.compare(
        [run / "model.keras"], output_dir=tmp_path / "out", quantizations=("float32",)
    )
    (file,) = found.files
    assert (file.run, file.role) == ("model", "student")
    assert file.top1 == before.files[2].top1


@pytest.mark.parametrize(
    ("options", "arguments", "words"),
    [
        ("", {}, "`dataset` is missing: no run says which images"),
        ("", {"dataset": "digits"}, "plain.keras: a .keras file does not say which pixel range"),
        (",input=unit", {"dataset": "digits"}, "`labels` is missing"),
    ],
)
def test_what_a_file_does_not_say_is_asked_for(classifier, tmp_path, options, arguments, words):
    with pytest.raises(InputError, match=words):
        std_keras.compare([f"{classifier}{options}"], output_dir=tmp_path, **arguments)


def test_options_of_files_need_one(digits_runs, tmp_path):
    with pytest.raises(InputError, match="`labels` is for classifiers in .keras files"):
        std_keras.compare([digits_runs["student"]], output_dir=tmp_path, labels="names.txt")
    with pytest.raises(InputError, match=r"none.keras does not exist"):
        std_keras.compare([tmp_path / "none.keras"], output_dir=tmp_path)
