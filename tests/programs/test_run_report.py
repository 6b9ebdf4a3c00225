"""The program that compares runs, on runs of seconds."""

from __future__ import annotations

import json
import shutil

import pytest

# `eagerly` does not apply to the functions of tf.data, which TensorFlow says.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the .*run_functions_eagerly")


@pytest.fixture
def report(run_command, eagerly):
    """Returns exit code and what it wrote to standard error."""
    pytest.importorskip("matplotlib")

    def run(*arguments):
        code, _, error = run_command("report", *arguments)
        return code, error

    return run


@pytest.fixture
def export(tmp_path):
    """What an export leaves, as far as the table shows it."""
    folder = tmp_path / "exported"
    folder.mkdir()
    file = {"bytes": 1_500_000, "top1": 0.5, "accuracy_drop": 0.01, "latency_ms": 1.25}
    tflite = {"int8": {**file, "max_logit_difference": None, "refused": "it is bad"}}
    content = {"machine": {"cpu": "A <slow> CPU"}, "tflite": tflite}
    (folder / "report.json").write_text(json.dumps(content))
    return folder


def test_compares_finished_and_unfinished_runs(report, digits_runs, export, tmp_path):
    unfinished = tmp_path / "unfinished"
    shutil.copytree(digits_runs["baseline"], unfinished)
    (unfinished / "result.json").unlink()
    (unfinished / "model.keras").unlink()
    output = tmp_path / "out"
    runs = [unfinished, digits_runs["student"], digits_runs["teacher"]]
    code, err = report(*runs, f"--output_dir={output}", f"--export={export}", "--samples=4")
    assert code == 0, err
    found = json.loads((output / "runs.json").read_text())
    assert [run["result"] is None for run in found["runs"]] == [True, False, False]
    assert found["differing_flags"]["width"] == [8, 16, 16]
    assert "batch_size" not in found["differing_flags"]
    for index, name in ((1, "student: average"), (2, "teacher")):
        top1 = found["runs"][index]["result"]["top1"]
        assert found["predictions"]["top1"][name] == pytest.approx(top1)
    drawn = {path.stem for path in output.glob("*.png")}
    assert drawn == {
        "runs_curve_loss",
        "runs_curve_top1",
        "runs_curve_test_loss",
        "runs_confusion_0",
        "runs_confusion_1",
    }
    page = (output / "report.html").read_text()
    assert page.count('class="card"') == 4
    assert "not finished" in page
    assert page.count("<td>mixer_<wbr>s16</td>") == 3 and "ModelOptions" not in page
    assert "<title>Runs compared</title>" in page and "<h1>Runs compared</h1>" in page
    assert "1.50 MB" in page and "it is bad" in page and "A &lt;slow&gt; CPU" in page
    assert "http://" not in page and "https://" not in page


def test_one_run_alone(report, digits_runs, tmp_path):
    output = tmp_path / "out"
    code, err = report(digits_runs["baseline"], f"--output_dir={output}", "--samples=0")
    assert code == 0, err
    page = (output / "report.html").read_text()
    assert "Differing flags" not in page and 'class="card"' not in page
    worst = json.loads((output / "runs.json").read_text())["predictions"]["class_accuracy"]
    assert len(worst["baseline"]) == 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--output_dir=OUT",), "RUN is missing"),
        (("RUN",), "--output_dir is missing"),
        (("/nowhere", "--output_dir=OUT"), "/nowhere is not a run directory"),
        (("RUN", "--output_dir=OUT", "--export=OUT"), "holds no report.json"),
        (("RUN", "--output_dir=OUT", "--samples=-1"), "--samples=-1"),
        (("RUN", "--output_dir=OUT", "--dataset=folder:/nowhere"), "/nowhere"),
        (("RUN", "--output_dir=OUT", "--head=average"), "--head is not a flag"),
    ],
)
def test_bad_input_exits_2_with_one_sentence(report, digits_runs, tmp_path, arguments, words):
    places = {"RUN": str(digits_runs["baseline"]), "OUT": str(tmp_path / "out")}
    filled = []
    for argument in arguments:
        for name, place in places.items():
            argument = argument.replace(name, place)
        filled.append(argument)
    code, err = report(*filled)
    assert code == 2
    assert words in err.splitlines()[-1]
    assert "Traceback" not in err


def test_help(report):
    assert report("--help")[0] == 0
