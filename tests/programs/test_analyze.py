"""Every analysis as a command on runs of seconds; the page; what is said about bad input."""

from __future__ import annotations

import functools
import json
from html.parser import HTMLParser

import numpy as np
import pytest
import tensorflow as tf

from std_keras.programs import program

# `eagerly` does not apply to the functions of tf.data, which TensorFlow says.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the .*run_functions_eagerly")

STUDENT_HEADS = [
    "classification",
    "distillation_0_intermediate",
    "distillation_0_last",
    "average",
    "confidence",
]


@pytest.fixture
def analyze(run_command, eagerly):
    pytest.importorskip("matplotlib")
    return functools.partial(run_command, "analyze")


class Page(HTMLParser):
    """What a browser would load, and the sections and headings it would show."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.links, self.sections, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if "src" in found:
            self.sources.append(found["src"])
        if "href" in found:
            self.links.append(found["href"])
        if tag == "section":
            self.sections.append(found["id"])
        if tag not in ("meta", "img", "link", "br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check_output(folder, name, pictures):
    """The four kinds of output of one analysis."""
    found = json.loads((folder / f"{name}.json").read_text())
    files = {path.stem.removeprefix(f"{name}_") for path in folder.glob(f"{name}_*.png")}
    assert files == set(pictures)
    for path in folder.glob(f"{name}_*.png"):
        image = tf.io.decode_png(path.read_bytes()).numpy()
        assert image[..., :3].std() > 1.0, path  # Something is drawn.
    (events,) = (folder / "tensorboard" / "analysis").glob(f"*.{name}")
    tags = {
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    assert tags == {f"{name}/{picture}" for picture in pictures}
    page = Page((folder / "report.html").read_text())
    assert page.open == []
    assert name in page.sections
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    return found


def test_agreement(analyze, digits_runs, tmp_path):
    code, out, err = analyze(
        "agreement",
        f"--model_dir={digits_runs['student']}",
        f"--against={digits_runs['teacher']}",
        f"--against={digits_runs['baseline']}",
        f"--output_dir={tmp_path}",
        "--examples=50",
        "--batch_size=16",
        "--bins=5",
    )
    assert code == 0, err
    assert json.loads(out)["files"][0] == str(tmp_path / "report.html")
    diagrams = [f"reliability_{i}" for i in range(len(STUDENT_HEADS) + 2)]
    found = check_output(tmp_path, "agreement", ["agreement", "fidelity", *diagrams])
    assert found["reference"] == "teacher"
    heads = found["parts"]["test"]["heads"]
    assert list(heads) == [*STUDENT_HEADS, "teacher", "baseline"]
    assert heads["teacher"]["agreement"] == 1.0
    assert heads["teacher"]["kl"] == pytest.approx(0.0, abs=1e-9)
    assert found["parts"]["test"]["examples"] == 50
    assert found["parts"]["augmented"]["examples"] == 48
    assert "top1" not in found["parts"]["augmented"]["heads"]["average"]
    assert sum(found["calibration"]["average"]["bins"]["count"]) == 50


def test_accuracies_are_those_of_the_run(analyze, digits_runs, tmp_path):
    """The whole test part, and the run's own teacher without --against."""
    run = digits_runs["student"]
    code, _, err = analyze(
        "agreement", f"--model_dir={run}", f"--output_dir={tmp_path}", "--examples=0"
    )
    assert code == 0, err
    found = json.loads((tmp_path / "agreement.json").read_text())
    assert found["reference"] == "teacher"
    result = json.loads((run / "result.json").read_text())
    for head, figures in result["heads"].items():
        if head in STUDENT_HEADS:
            top1 = found["parts"]["test"]["heads"][head]["top1"]
            assert top1 == pytest.approx(figures["top1"])


def test_disagreement_and_a_second_section(analyze, digits_runs, tmp_path):
    common = (f"--model_dir={digits_runs['student']}", f"--output_dir={tmp_path}")
    code, _, err = analyze("disagreement", *common, "--images=3")
    assert code == 0, err
    found = check_output(tmp_path, "disagreement", ["matrix", "contested"])
    assert found["names"] == ["ground truth", *STUDENT_HEADS, "teacher"]
    matrix = np.array(found["matrix"])
    assert (matrix == matrix.T).all() and (np.diag(matrix) == 0).all()
    result = json.loads((digits_runs["student"] / "result.json").read_text())
    assert matrix[0, 4] == pytest.approx(1 - result["top1"])
    assert len(found["contested"]) == 3
    spread = [entry["divergence"] for entry in found["contested"]]
    assert spread == sorted(spread, reverse=True)

    code, _, err = analyze("agreement", *common, "--examples=32")
    assert code == 0, err
    code, _, err = analyze("disagreement", *common, "--images=0")
    assert code == 0, err
    assert not (tmp_path / "disagreement_contested.png").exists()
    page = (tmp_path / "report.html").read_text()
    assert Page(page).sections == ["disagreement", "agreement"]  # Replaced where it was.
    assert 'class="cards"' not in page


def test_tokens(analyze, digits_runs, tmp_path):
    run = digits_runs["student"]
    code, _, err = analyze(
        "tokens",
        f"--model_dir={run}",
        f"--output_dir={tmp_path}",
        "--critic_steps=3",
        "--history_examples=20",
    )
    assert code == 0, err
    sets = ["tokens_0_intermediate", "tokens_0_last"]
    drawn = [f"{kind}_{name}" for kind in ("map", "information") for name in sets]
    found = check_output(tmp_path, "tokens", ["cosines", "history", *drawn])
    assert list(found["similarity"]) == sets
    for summary in found["similarity"].values():
        assert -1 <= summary["spatial"]["mean"] <= summary["spatial"]["mean_of_largest"] <= 1
    # The start, and the checkpoints of both epochs.
    assert sorted({row["step"] for row in found["history"]}) == [0, 2, 4]
    start = [r["mean_magnitude"] for r in found["history"] if r["step"] == 0]
    assert start != [r["mean_magnitude"] for r in found["history"] if r["step"] == 4]
    assert [row["kind"] for row in found["between_sets"]] == ["spatial", "channel"]
    lines = [json.loads(x) for x in (run / "metrics.jsonl").read_text().splitlines()]
    last = [x["mine/tokens_0_last"] for x in lines if "mine/tokens_0_last" in x][-1]
    assert found["information"]["tokens_0_last"]["logged"] == last
    # What nothing is removed from is the run's own accuracy.
    heads = json.loads((run / "result.json").read_text())["heads"]
    for row in found["removal"]:
        if row["removed"] == "nothing":
            assert row["top1"] == pytest.approx(heads[row["head"]]["top1"])
            assert row["changed"] == 0.0
    assert len(found["removal"]) == 9


def test_cka(analyze, digits_runs, tmp_path):
    run = digits_runs["student"]
    code, _, err = analyze(
        "cka", f"--model_dir={run}", f"--output_dir={tmp_path}", "--batch_size=29"
    )
    assert code == 0, err
    found = check_output(tmp_path, "cka", ["layers"])
    assert (found["batches"], found["examples"]) == (2, 58)  # Two of 60 are too few for a batch.
    assert found["against"] == "teacher"
    assert found["rows"][:4] == ["stem", "block_0", "block_1", "final_norm"]
    assert np.shape(found["cka"]) == (len(found["rows"]), len(found["columns"]))
    code, _, err = analyze(
        "cka",
        f"--model_dir={digits_runs['teacher']}",
        f"--against={digits_runs['teacher']}",
        f"--output_dir={tmp_path}",
        "--layers=all",
    )
    assert code == 0, err
    same = json.loads((tmp_path / "cka.json").read_text())
    np.testing.assert_allclose(np.diag(same["cka"]), 1.0, atol=1e-5)


def test_weights(analyze, digits_runs, tmp_path):
    code, _, err = analyze(
        "weights",
        f"--model_dir={digits_runs['student']}",
        f"--output_dir={tmp_path}",
        "--filters=9",
    )
    assert code == 0, err
    mixing = [f"mixing_block_{i}" for i in range(2)]
    found = check_output(tmp_path, "weights", [*mixing, "stem", "norms"])
    assert all(0.25 <= share <= 1 for share in found["locality"].values())  # Of 4 patches.
    assert "stem/kernel" in {row["name"] for row in found["norms"]}


def test_permutation(analyze, digits_runs, tmp_path):
    common = (
        *(f"--output_dir={tmp_path}", "--examples=48"),
        *("--train_examples=64", "--train_epochs=1"),
    )
    code, _, err = analyze("permutation", f"--model_dir={digits_runs['student']}", *common)
    assert code == 0, err
    found = check_output(tmp_path, "permutation", ["images", "trained"])
    identity = found["identity"]
    assert identity["largest_logit_difference"] < 1e-4 * identity["largest_logit"] + 1e-5
    assert identity["top1"] == identity["top1_shuffled_images_and_weights"]
    assert found["train_examples"] == 64
    assert list(found["trained_top1"]) == ["student", "teacher"]
    ways = {"original", "patches and pixels", "all pixels"}
    assert all(set(found) == ways for found in found["trained_top1"].values())


def test_specialization(analyze, digits_runs, tmp_path):
    code, _, err = analyze(
        "specialization",
        f"--model_dir={digits_runs['student']}",
        f"--output_dir={tmp_path}",
        "--synthetic_steps=50",
    )
    assert code == 0, err
    found = check_output(tmp_path, "specialization", ["histogram", "synthetic", "outgoing"])
    moments = ["step 0", "step 2", "step 4", "model.keras"]
    assert list(found["mean_best_correlation"]) == moments
    assert np.shape(found["best_correlation"]["step 0"]) == (16,)
    assert found["student_nodes"] == 16
    code, _, err = analyze(
        "specialization",
        f"--model_dir={digits_runs['teacher']}",
        f"--against={digits_runs['teacher']}",
        f"--output_dir={tmp_path}",
        "--synthetic_steps=0",
    )
    assert code == 0, err
    found = json.loads((tmp_path / "specialization.json").read_text())
    assert found["mean_best_correlation"]["model.keras"] == pytest.approx(1.0)
    assert found["synthetic"] is None


def test_robustness(analyze, digits_runs, tmp_path):
    code, _, err = analyze(
        "robustness",
        f"--model_dir={digits_runs['baseline']}",
        f"--against={digits_runs['teacher']}",
        f"--against={digits_runs['student']}",
        f"--output_dir={tmp_path}",
        "--examples=24",
        "--batch_size=24",
        "--images=2",
        "--train_epochs=1",
        "--attack_steps=1",
        "--train_attack_steps=1",
    )
    assert code == 0, err
    found = check_output(tmp_path, "robustness", ["accuracy", "images"])
    assert (found["oracle"], found["judge"]) == ("teacher", "student")
    assert (found["examples"], found["train_examples"]) == (24, 24)
    ways = list(found["found"])
    assert ways[:4] == ["model.keras", "labels", "classes", "logits"] and len(ways) == 8
    for measured in found["found"].values():
        assert measured["top1_linf"] <= measured["top1"]
        assert 0 <= measured["error_confident"] <= 1
        assert measured["error_all"] >= 1 - measured["top1"] - 1e-9
    code, _, err = analyze(
        "robustness",
        f"--model_dir={digits_runs['baseline']}",
        f"--against={digits_runs['baseline']}",
        f"--output_dir={tmp_path}",
        "--images=0",
        "--train_epochs=0",
        "--attack_steps=1",
    )
    assert code == 0, err
    found = json.loads((tmp_path / "robustness.json").read_text())
    # Its own oracle: no image on which they differ.
    assert found["found"]["model.keras"]["agreement_oracle"] == 1.0
    result = json.loads((digits_runs["baseline"] / "result.json").read_text())
    assert found["found"]["model.keras"]["top1"] == pytest.approx(result["top1"])


def test_a_baseline_alone(analyze, digits_runs, tmp_path):
    code, _, err = analyze(
        "disagreement",
        f"--model_dir={digits_runs['baseline']}",
        f"--against={digits_runs['student']}",
        f"--output_dir={tmp_path}",
    )
    assert code == 0, err
    found = json.loads((tmp_path / "disagreement.json").read_text())
    assert found["names"][1:3] == ["baseline", "student: classification"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("agrement",), "'agrement' is not an analysis; did you mean agreement?"),
        (("agreement",), "--model_dir is missing"),
        (("agreement", "--model_dir=RUN"), "--output_dir is missing"),
        (("agreement", "--model_dir=/nowhere", "--output_dir=OUT"), "--model_dir=/nowhere"),
        (("agreement", "--model_dir=BASELINE", "--output_dir=OUT"), "--against is missing"),
        (("agreement", "--model_dir=RUN", "--output_dir=OUT", "--against=x"), "--against=x is not"),
        (("agreement", "--model_dir=RUN", "--output_dir=OUT", "--bins=0"), "--bins=0"),
        (("agreement", "--model_dir=RUN", "--output_dir=OUT", "--examples=-1"), "--examples=-1"),
        (("agreement", "--model_dir=RUN", "--output_dir=OUT", "--batch_size=1"), "--batch_size=1"),
        (("disagreement", "--model_dir=RUN", "--output_dir=OUT", "--images=-2"), "--images=-2"),
        (("disagreement", "--model_dir=RUN", "--output_dir=OUT", "--bins=3"), "--bins is not"),
        (
            ("tokens", "--model_dir=BASELINE", "--output_dir=OUT"),
            "/baseline: the model mixer_s16 has no token sets",
        ),
        (("tokens", "--model_dir=RUN", "--output_dir=OUT", "--critic_steps=-1"), "--critic_steps"),
        (("cka", "--model_dir=RUN", "--output_dir=OUT", "--examples=3"), "--examples=3"),
        (("cka", "--model_dir=RUN", "--output_dir=OUT", "--layers=some"), "layers"),
        (("permutation", "--model_dir=RUN", "--output_dir=OUT", "--train_epochs=-1"), "_epochs=-1"),
        (
            ("permutation", "--model_dir=RUN", "--output_dir=OUT", "--train_learning_rate=0"),
            "--train_learning_rate=0",
        ),
        (
            ("specialization", "--model_dir=RUN", "--output_dir=OUT", "--synthetic_steps=-1"),
            "--synthetic_steps=-1",
        ),
        (("robustness", "--model_dir=BASELINE", "--output_dir=OUT"), "--against is missing"),
        (("robustness", "--model_dir=RUN", "--output_dir=OUT", "--epsilon=0"), "--epsilon=0"),
        (("robustness", "--model_dir=RUN", "--output_dir=OUT", "--rho=-1"), "--rho=-1"),
        (("weights", "--model_dir=RUN", "--output_dir=OUT", "--filters=0"), "--filters=0"),
        (("weights", "--model_dir=RUN", "--output_dir=OUT", "--against=x"), "--against is not"),
        (("disagreement", "--model_dir=RUN", "--output_dir=FILE"), "FILE cannot be used"),
        (("disagreement", "--model_dir=RUN", "--output_dir=FOREIGN"), "not made by this program"),
    ],
)
def test_bad_input_exits_2_with_one_sentence(analyze, digits_runs, tmp_path, arguments, words):
    (tmp_path / "FILE").write_text("")
    (tmp_path / "FOREIGN").mkdir()
    (tmp_path / "FOREIGN" / "report.html").write_text("<p>mine</p>")
    places = {
        "RUN": digits_runs["student"],
        "BASELINE": digits_runs["baseline"],
        "OUT": tmp_path / "out",
        "FILE": tmp_path / "FILE",
        "FOREIGN": tmp_path / "FOREIGN",
    }
    filled = [
        f"{name}={places[value]}" if value in places else argument
        for argument in arguments
        for name, _, value in [argument.partition("=")]
    ]
    code, out, err = analyze(*filled)
    assert code == 2
    assert words in err.splitlines()[-1]
    assert "Traceback" not in err and out == ""
    assert (tmp_path / "FOREIGN" / "report.html").read_text() == "<p>mine</p>"


def test_help(analyze):
    code, out, _ = analyze("--help")
    assert code == 0
    assert "agreement" in out
    code, out, _ = analyze("agreement", "--help")
    assert code == 0
    assert "--against" in out


def test_interrupted_writes_nothing(analyze, digits_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(program.StopRequest, "__bool__", lambda self: True)
    code, _, err = analyze(
        "disagreement", f"--model_dir={digits_runs['student']}", f"--output_dir={tmp_path}"
    )
    assert code == 75, err
    assert list(tmp_path.glob("*.json")) == []


def test_packed_weights_are_named_as_everywhere(analyze, tmp_path):
    """By std_keras:NAME; one that is not there is refused with those that are."""
    code, _, error = analyze("weights", "--model_dir=std_keras:nothing", f"--output_dir={tmp_path}")
    assert code == 2
    assert "--model_dir=std_keras:nothing: no weights of that name are packed" in error
    code, _, error = analyze(
        "weights",
        "--model_dir=std_keras:cifar100_cpu_resnet20",
        f"--output_dir={tmp_path}",
        f"--data_dir={tmp_path}",
    )
    assert code == 2
    assert "--dataset=cifar100: no prepared data in" in error
