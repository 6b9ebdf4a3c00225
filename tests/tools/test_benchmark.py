"""The steps that are compared, what is counted of them, and the turns they take."""

from __future__ import annotations

import csv
import importlib
import itertools
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from std_keras.config import TrainConfig, defaults, resolve
from std_keras.errors import InputError, MachineError
from tests import processes

TINY = {
    "dataset": "digits",
    "model": "mixer_s16",
    "patch_size": 2,
    "width": 16,
    "depth": 2,
    "batch_size": 8,
    "distillation": "hard",
    "teacher": ("runs/digits_resnet20,site=last",),
}


def dense(rows: int, *widths: int) -> int:
    return rows * sum(a * b for a, b in itertools.pairwise(widths))


def student_macs(*, patches: int, stem: int, width: int, depth: int, classes: int) -> int:
    """A Mixer with one token set, from the shapes of its dense layers."""
    block = dense(width, patches, width // 2, patches) + dense(patches, width, 4 * width, width)
    spatial = dense(width, patches + 1, width // 2, 1)
    channel = dense(patches, width + 1, 4 * width, 1)
    heads = dense(1, width, classes) + dense(1, width + patches, classes)
    return dense(patches, stem, width) + depth * block + spatial + channel + heads


def resnet20_macs(classes: int) -> int:
    """On 8 x 8 grey pixels: three stages of three blocks of two convolutions, and projections."""
    total, inputs = 9 * 1 * 16 * 64, 16
    for outputs, positions in ((16, 64), (32, 16), (64, 4)):
        total += (9 * inputs * outputs + 5 * 9 * outputs * outputs) * positions
        total += inputs * outputs * positions if inputs != outputs else 0
        inputs = outputs
    return total + 64 * classes


@pytest.mark.parametrize("teachers", ["on", "cached", "off"])
def test_flop_of_a_step_in_closed_form(tools, tmp_path, teachers):
    _, facts = tools("our_step").make(TrainConfig(**TINY), tmp_path, teachers=teachers, xla=False)
    shapes = {"patches": 16, "stem": 4, "width": 16, "depth": 2, "classes": 10}
    macs = student_macs(**shapes)
    if teachers == "off":
        macs -= dense(16, 17, 64, 1) + dense(16, 17, 8, 1) + dense(1, 32, 10)
    asked = resnet20_macs(10) if teachers == "on" else 0
    assert facts["flop"] == 2 * 8 * (3 * macs + asked)
    assert facts["teacher_models"] == ([] if teachers == "off" else facts["teacher_models"])
    assert ("cifar_resnet20" in facts["teacher_models"]) is (teachers == "on")
    assert facts["matmuls"] == [(4096, 512, 2048), (4096, 2048, 512)]


def test_a_teacher_that_nothing_is_known_of(tools, tmp_path):
    config = TrainConfig(**{**TINY, "teacher": ("runs/nobody,site=last",)})
    with pytest.raises(InputError, match=r"runs/nobody is not there, and no nobody\.flags"):
        tools("our_step").make(config, tmp_path, teachers="on", xla=False)


def test_a_packed_teacher(tools, tmp_path):
    teacher = "std_keras:cifar100_cpu_resnet20,site=last"
    config = TrainConfig(**{**TINY, "dataset": "cifar100", "patch_size": 8, "teacher": (teacher,)})
    data = tools("setting").dataset(config)
    assert data.label_names[0] == "apple"
    _, facts = tools("our_step").make(config, tmp_path, teachers="on", xla=False)
    assert facts["teacher_models"] == ["cifar_resnet20"]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("convolutions", [False, True])
def test_torch_takes_the_same_step(tools, root, tmp_path, monkeypatch, convolutions):
    """Both get the same weights, and the losses of three steps in a row agree."""
    torch = pytest.importorskip("torch")
    for folder in ("weights", "training"):
        monkeypatch.syspath_prepend(str(root / "tests" / folder))
    from std_keras.config.optimization import OptimizationOptions
    from std_keras.runs.keras_file import load_keras_file
    from std_keras.teachers.predictions import CLASS, CONFIDENCE
    from std_keras.training import optimizers
    from std_keras.weights.convert import ConvertOptions, convert_weights
    from tests.training import tiny
    from tests.weights import torch_models

    shapes = {"image": 16, "patch": 4, "width": 12, "depth": 2, "num_classes": 5}
    network = torch_models.randomize(torch_models.StdMixer(**shapes))
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    options = ConvertOptions(
        model="mixer_s16",
        layout="std_pytorch",
        site="last",
        options={"patch_size": 4, "width": 12, "depth": 2},
    )
    done = convert_weights(tmp_path / "weights.pth", output=tmp_path / "run", options=options)
    model = load_keras_file(done.run.model_file)

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (8, 16, 16, 3), np.uint8)
    targets = rng.dirichlet(np.ones(5), 8).astype(np.float32)
    optimizer = optimizers.create_optimizer(
        OptimizationOptions(weight_decay=0.0),
        learning_rate=3e-3,
        variables=model.trainable_variables,
    )
    batch = {
        "images": pixels,
        "targets": targets,
        CLASS: targets.argmax(1)[:, np.newaxis],
        CONFIDENCE: np.zeros((8, 1), np.float32),
    }
    trainer = tiny.trainer(
        tiny.make_state(model, optimizer=optimizer),
        task=tiny.task_of(model, 1, alpha=0.3),
        batch_size=8,
    )
    source = tiny.feed(tf.distribute.get_strategy(), [batch] * 3)
    ours = [trainer.call(source, first_step=step, steps=1).last["loss/total"] for step in range(3)]

    mean, std = (np.array(v) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    images = ((pixels / 255 - mean) / std).transpose(0, 3, 1, 2)
    torch_step = tools("torch_step")
    step = torch_step.training_step(
        network.train() if convolutions else torch_step.with_linear_layers(network.train()),
        None,
        torch.tensor(images, dtype=torch.float32),
        torch.tensor(targets),
        alpha=0.3,
        weight_decay=0.0,
        learning_rate=3e-3,
    )
    theirs = [float(step()) for _ in range(3)]
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert abs(ours[0] - ours[2]) > 1e-2  # They do move.


def test_torch_with_and_without_convolutions(tools):
    torch = pytest.importorskip("torch")
    torch_step = tools("torch_step")
    facts = {"image_shape": [8, 8, 3], "features": [4, 12], "depth": 2, "num_classes": 5}
    found = {
        name: sum(
            isinstance(layer, torch.nn.Conv1d)
            for layer in torch_step.student_of(facts, teachers=0, variant=name).modules()
        )
        for name in torch_step.VARIANTS
    }
    assert found == {name: 4 if "convolutions" in name else 0 for name in torch_step.VARIANTS}
    assert torch_step.usual(bfloat16=False) == ["eager", "compile"]
    assert torch_step.usual(bfloat16=True)[2:] == ["eager_bfloat16", "compile_bfloat16"]


def test_torch_has_no_grey_images(tools):
    pytest.importorskip("torch")
    facts = {"image_shape": [8, 8, 1], "features": [16, 12], "depth": 1, "num_classes": 5}
    with pytest.raises(InputError, match="3 colours, not 1"):
        tools("torch_step").student_of(facts, teachers=1, variant="eager")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "resmlp_s12"}, "--model=resmlp_s12: .*Mixers"),
        ({"optimizer": "sgd"}, "--optimizer=sgd"),
        ({"gelu": "tanh"}, "--gelu=tanh"),
        ({"distillation": "soft"}, "--distillation=soft"),
        ({"tokens": "spatial"}, "--tokens=both"),
        ({"teacher": ("a", "b")}, "takes one --teacher, not 2"),
        ({"teacher": ("a,site=both",)}, "--teacher=a,site=both"),
    ],
)
def test_what_torch_does_not_do_is_refused(tools, changes, message):
    config = TrainConfig(**{**TINY, **changes}).flat()
    with pytest.raises(InputError, match=message):
        tools("torch_step").check(config)


FAKE = """
import os, time  # Every call takes 0.02 s of a clock that nothing else moves.
from tools.benchmarks.turns import Prepared
from std_keras.errors import InputError

def prepare(*, log, name, fault="", times=1, threads=0):
    if fault == "refused":
        raise InputError("--model=nothing is not a model")
    print("noise of a library")
    clock = [100.0]
    time.perf_counter = lambda: clock[0]
    if threads:
        time.process_time = lambda: threads * clock[0]
    def call():
        if fault == "killed" and os.path.exists(log):
            os._exit(7)
        with open(log, "a") as file:
            file.write(name)
        clock[0] += 0.02
    return Prepared(call=call, facts={"pid": os.getpid()}, times=times)
"""


@pytest.fixture
def jobs(tools, tmp_path):
    """Makes jobs that write their name into a file whenever they are called."""
    (tmp_path / "fake.py").write_text(FAKE)
    log = tmp_path / "log"

    def make(name, **options):
        return tools("turns").Job(
            name,
            "fake:prepare",
            {"log": str(log), "name": name, **options},
            {"PYTHONPATH": str(tmp_path)},
        )

    make.log = log
    return make


def test_processes_take_turns(tools, jobs):
    with tools("turns").Processes() as processes:
        pids = {processes.start(jobs(name))["pid"] for name in "ab"}
        processes.take_turns(rounds=2, seconds=0.05)
        figures = processes.figures()
    assert len(pids) == 2
    # One call each at the start, then turns of as many calls as fill 0.05 s. The order turns.
    assert jobs.log.read_text() == "ab" + "aaabbb" + "bbbaaa"
    for values in figures.values():
        assert values["seconds"] == pytest.approx({"best": 0.02, "median": 0.02, "worst": 0.02})
        # Less than a turn: it would be several if it computed while others had theirs.
        assert values["idle_cpu_seconds"] < 0.05
        assert values["peak_bytes"] > 2**20


def test_a_call_that_does_its_work_several_times(tools, jobs):
    with tools("turns").Processes() as processes:
        processes.start(jobs("a", times=4))
        processes.take_turns(rounds=2, seconds=0.0)
        figures = processes.figures()["a"]
    assert figures["seconds"]["best"] == pytest.approx(0.02 / 4)
    assert figures["first_call_seconds"] == pytest.approx(0.02)


def cpu_seconds(prepared):
    """Of the process, for one time; other processes that keep the cores busy do not count."""
    began = time.process_time()
    for _ in range(3):
        prepared.call()
    return (time.process_time() - began) / (3 * prepared.times)


def test_the_rate_of_matmuls(tools, monkeypatch):
    """A product of moments is repeated within one call, and no product is left out."""
    matmul = tools("matmul")
    small = matmul.prepare(shapes=[(64, 64, 64)], dtype="float32")
    assert small.times > 1
    assert small.facts["flop"] == 2 * 64**3
    one = matmul.prepare(shapes=[(512, 512, 512)], dtype="float32")
    six = matmul.prepare(shapes=[(512, 512, 512)] * 6, dtype="float32")
    # What is left out costs nothing: then it would be 1 or less.
    assert cpu_seconds(six) > 2 * cpu_seconds(one)
    clock = [0.0]
    monkeypatch.setattr(matmul.time, "perf_counter", lambda: clock[0])
    assert matmul.least_times(lambda: None) == matmul._MOST_TIMES
    assert matmul.least_times(lambda: clock.__setitem__(0, clock[0] + 0.03)) == 2


def test_a_process_that_refuses_or_ends(tools, jobs):
    turns = tools("turns")
    with turns.Processes() as processes, pytest.raises(InputError, match="model=nothing"):
        processes.start(jobs("a", fault="refused"))
    with turns.Processes() as processes:
        processes.start(jobs("b", fault="killed"))
        with pytest.raises(MachineError, match=r"b: its process ended \(exit code 7"):
            processes.take_turns(rounds=1, seconds=0.0)


def test_variants_add_one_thing_each(tools):
    config = TrainConfig(**{**TINY, "ema_decay": 0.5, "mixed_precision": True})
    made = {v.name: v for v in tools("overhead").variants(config)}
    assert not made["backbone"].changes
    for variant in made.values():
        if variant.added_to:
            base = made[variant.added_to]
            more = {k for k, v in variant.changes.items() if base.changes.get(k) != v}
            assert set(base.changes) <= set(variant.changes)
            assert more or (variant.metrics, variant.view) != (base.metrics, base.view)
    assert made["moving average"].changes["ema_decay"] == 0.5
    assert len(made["a second teacher's token set"].changes["teacher"]) == 2


@pytest.mark.parametrize("view", [1, 2])
def test_batches_are_made_with_the_larger_view_that_is_measured(tools, tmp_path, view):
    config = TrainConfig(dataset="cifar10", batch_size=4, augmentation="crop_flip")
    data = tools("setting").dataset(config)
    config = resolve(config, image_size=32, horizontal_flip=True)
    stream = tools("setting").pictures(config, data, tmp_path, view=view)
    batches = list(stream.take(2).as_numpy_iterator())
    larger = {"images_64"} if view == 2 else set()
    assert set(batches[0]) == {"images", "targets"} | larger
    assert batches[0]["images"].shape == (4, 32, 32, 3)
    assert not np.array_equal(batches[0]["images"], batches[1]["images"])
    for batch in batches if larger else ():
        # The same part of the same picture, of twice the side.
        small = batch["images_64"].reshape(4, 32, 2, 32, 2, 3).mean(axis=(2, 4))
        assert np.abs(small - batch["images"].astype(float)).mean() < 6


def test_grey_images_have_no_rows_of_larger_views(tools, monkeypatch):
    overhead = tools("overhead")
    made = []

    def make(config, folder, **options):
        made.append(options["view"])
        return (lambda: None), {"parameters": 1, "flop": 1.0}

    monkeypatch.setattr(overhead.our_step, "make", make)
    for dataset, views in (("digits", {None}), ("cifar100", {None, 1, 2})):
        made.clear()
        flags = {**TINY, "dataset": dataset, "teacher": (), "distillation": "none"}
        found = overhead.run(rounds=1, seconds=0.0, **flags)
        assert set(made) == views
        assert ("a teacher's view of twice the side" in found["variants"]) == (2 in views)


def test_a_row_of_the_overhead(tools):
    overhead = tools("overhead")
    variant = overhead.Variant("new", "old", {})
    timed = {"old": [[1.0, 2.0], [1.2]], "new": [[1.1], [1.5, 1.8]]}
    facts = {"old": {"parameters": 100, "flop": 8.0}, "new": {"parameters": 107, "flop": 10.0}}
    row = overhead._row(variant, timed, facts)
    assert row["added_percent"] == pytest.approx(
        {"best": 10.0, "median": 25.0, "within a round": 100 * ((1.1 + 1.25) / 2 - 1)}
    )
    assert (row["parameters_percent"], row["flop_percent"]) == pytest.approx((7.0, 25.0))


def test_the_loss_alone(tools):
    from std_keras.training.task import DistillationTask

    rng = np.random.default_rng(0)
    outputs = {"classification": tf.constant(rng.normal(size=(4, 3)), tf.float32)}
    targets = tf.constant(rng.dirichlet(np.ones(3), 4), tf.float32)
    loss, metrics = DistillationTask().example_losses(outputs, targets)
    alone = tools("our_step")._only_the_loss(DistillationTask())
    alone, others = alone.example_losses(outputs, targets)
    np.testing.assert_array_equal(alone, loss)
    assert set(others) == set(metrics)
    assert all(value is alone for value in others.values())


def test_flags_of_a_configuration_are_read_as_the_same(tools):
    from std_keras.config import options
    from std_keras.programs import flags

    config = TrainConfig(
        **{**TINY, "teacher": ("a,site=last", "b"), "learning_rate": 3e-5, "crop_twice": False},
        mine_bias_correction=False,
        jit_compile=True,
    )
    parsed = flags.parse(
        tools("startup").as_flags(config),
        program="",
        about="",
        options=options(),
        defaults=defaults(),
    )
    assert TrainConfig(**parsed) == config


def test_flags_of_all(tools):
    commands = tools("every").commands
    config = TrainConfig(dataset="imagenet2012", patch_size=32, depth=3)
    asked = {"against": "torch", "rounds": 2}
    assert commands("input", config, **asked) == ["--against=timm", "--image_size=224"]
    assert commands("export", config, **asked) == [
        *("--against=pytorch", "--image_size=224", "--patch_size=32", "--depth=3")
    ]
    common = ["--rounds=2", "--dataset=imagenet2012", "--patch_size=32", "--depth=3"]
    assert commands("growth", config, **asked) == common
    assert commands("infer", config, **asked) == ["--against=torch", *common]


RESULT = {
    "benchmark": "train",
    "model": "mixer_s16",
    "variants": {
        "plain": {"seconds": {"best": 1.0, "median": 2.0}, "peak_bytes": 3 * 2**20},
        "xla": {"seconds": {"best": 1234.5, "median": 2.5}, "peak_bytes": None},
    },
    "ratios": {},
}


def test_table(tools):
    lines = tools("results").text(RESULT).splitlines()
    assert [line.split() for line in lines[-2:]] == [
        ["plain", "1", "2", "3", "MiB"],
        ["xla", "1,234", "2.5"],
    ]
    assert lines[-3].split() == ["variants", "best", "median", "bytes"]


def test_csv_grows(tools, tmp_path):
    results, path = tools("results"), tmp_path / "new" / "benchmarks.csv"
    for command in ("one", "two, three"):
        patterns = ("variants/*/seconds/best", "variants/*/peak_bytes")
        results.append_csv(str(path), RESULT, command=command, figures=patterns)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == results.COLUMNS
    assert [(row["command"], row["figure"], float(row["value"])) for row in rows] == [
        (command, f"train/variants/{figure}", value)
        for command in ("one", "two, three")
        for figure, value in (
            ("plain/seconds/best", 1.0),
            ("plain/peak_bytes", 3.0 * 2**20),
            ("xla/seconds/best", 1234.5),
        )
    ]


def run(what, *flags):
    return processes.run("-m", "tools.benchmark", what, *flags)


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("train_step", {"rounds": 0}, "--rounds=0 is outside its limits"),
        ("train_step", {"seconds": -1.0}, "--seconds=-1.0 is outside its limits"),
        ("train_step", {"variants": "fast"}, "--variants=fast: name some of plain, xla"),
        ("infer", {"batches": "1,0"}, "--batches=1,0: name numbers of at least 1"),
        ("kernel_choice", {"work": "rest"}, "--work=rest: name some of step, batch, image"),
        ("shapes", {"widths": "128,0"}, "--widths=128,0: name numbers of at least 1"),
        ("shapes", {"runs": 0}, "--runs=0 is outside its limits"),
        ("growth", {"points": 2}, "--points=2 is outside its limits"),
        ("growth", {}, "--distillation=none has no teachers to grow by"),
        ("every", {"only": "nothing", "csv": None}, "--only=nothing: name some of input, train"),
    ],
)
def test_bad_values(tools, name, flags, message):
    benchmark = tools(name)
    given = {**dict.fromkeys(benchmark.OPTIONS), **benchmark.DEFAULTS, **flags}
    with pytest.raises(InputError, match=message):
        benchmark.run(**given)


def test_exit_codes():
    done = run("nothing")
    assert done.returncode == 2
    assert "'nothing' is not a benchmark" in done.stderr
    done = run("train", "--rounds=0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --rounds=0")


@pytest.mark.parametrize("what", ["train", "overhead", "all"])
def test_files_are_refused_before_anything_is_measured(tmp_path, what):
    (tmp_path / "notes.md").write_text("# Notes\n")
    done = run(what, f"--csv={tmp_path}/notes.md")
    assert (done.returncode, done.stdout) == (2, "")
    assert "notes.md is not a table of benchmarks; name another file" in done.stderr
    assert (tmp_path / "notes.md").read_text() == "# Notes\n"
    done = run(what, f"--json={tmp_path}")
    assert done.returncode == 2 and "is a folder; name a file" in done.stderr


# `all`, which starts the script below in place of a benchmark.
ALL = """
import sys
from std_keras.programs.program import console
from tools import benchmark
from tools.benchmarks import every

every._PROGRAM = (sys.executable, PART)
console(benchmark.main)
"""
ONE = """
import json, sys

name, *given, last = sys.argv[1:]
if name == "startup":
    sys.exit("there is no data")
with open(last.removeprefix("--json="), "w") as file:
    json.dump({"given": given}, file)
"""


def test_one_that_fails_stops_no_other(tools, tmp_path):
    from std_keras.programs import flags

    (tmp_path / "one.py").write_text(ONE)
    asked = ("--model=mixer_s16", "--patch_size=16", "--width=16", "--batch_size=1", "--rounds=1")
    wanted = ("--only=startup,infer", f"--json={tmp_path}/all.json")
    code = ALL.replace("PART", repr(str(tmp_path / "one.py")))
    done = processes.run("-c", code, "all", *asked, *wanted)
    assert done.returncode == 5, done.stderr
    assert "there is no data" in done.stderr
    assert "benchmarks failed: startup; see above" in done.stderr
    found = json.loads((tmp_path / "all.json").read_text())
    assert found["failed"] == ["startup"]
    # The other was told what was asked for.
    infer = tools("infer")
    given = flags.parse(
        found["infer"]["given"],
        program="",
        about="",
        options=infer.OPTIONS,
        defaults=infer.DEFAULTS,
    )
    names = ("model", "patch_size", "width", "batch_size", "rounds")
    assert [given[name] for name in names] == ["mixer_s16", 16, 16, 1, 1]


class InThisProcess:
    """Stands for `Processes`: makes each job here and calls it once; its times are made up."""

    def __init__(self):
        self.said = {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def start(self, job):
        tf.keras.utils.set_random_seed(0)
        module, function = job.maker.split(":")
        options = json.loads(json.dumps(job.options))
        made = getattr(importlib.import_module(module), function)(**options)
        self.said[job.name] = made.call()
        return json.loads(json.dumps(made.facts))

    def take_turns(self, *, rounds, seconds):
        assert (rounds, seconds) == (1, 0.0)

    def figures(self):
        best = {name: 0.5 if "xla" in name else 0.25 for name in self.said}
        return {name: {"seconds": {"best": s, "median": 2 * s}} for name, s in best.items()}


def test_inference_needs_no_data(tools, tmp_path, monkeypatch):
    infer, here = tools("infer"), InThisProcess()
    monkeypatch.setattr(infer, "Processes", lambda: here)
    size = {"dataset": "cifar100", "patch_size": 16, "width": 16, "depth": 1, "batch_size": 1}
    given = {**dict.fromkeys(infer.OPTIONS), **infer.DEFAULTS, **size}
    given |= {"data_dir": f"{tmp_path}/nothing", "model": "mixer_s16", "rounds": 1, "seconds": 0.0}
    found = infer.run(**given)
    assert set(found["variants"]) == {"plain, batch 1", "xla, batch 1"}
    plain, xla = (here.said[f"{name}, batch 1"] for name in ("plain", "xla"))
    assert plain.shape == (1, 100)
    np.testing.assert_allclose(plain, xla, atol=1e-5)
    for name, images_per_s in (("plain", 2.0), ("xla", 1.0)):
        figures = found["variants"][f"{name}, batch 1"]
        assert figures["images_per_s"] == images_per_s
        of_matmuls = found["matmul_gflop_per_s"]["float32"]["best"]
        gflop = 2 * found["gmac_per_image"]
        assert figures["share"] == pytest.approx(gflop / of_matmuls * 2 * images_per_s)


class Kernels(InThisProcess):
    """Keeps which kernels each job asks for; oneDNN's are twice as fast."""

    def __init__(self):
        super().__init__()
        self.asked = {}

    def __enter__(self):
        self.said = {}
        return self

    def start(self, job):
        self.asked[job.name] = job.environment
        return super().start(job)

    def figures(self):
        taken = {name: 1.0 if name.endswith("oneDNN") else 2.0 for name in self.said}
        every = {name: {"best": s, "median": 1.5 * s} for name, s in taken.items()}
        return {name: {"seconds": s, "cpu_seconds": s} for name, s in every.items()}


def test_each_kind_of_work_runs_with_both_kernels(tools, monkeypatch):
    kernels, here = tools("kernel_choice"), Kernels()
    monkeypatch.setattr(kernels, "Processes", lambda: here)
    size = {"dataset": "digits", "model": "cifar_resnet20", "depth": 8, "batch_size": 2}
    given = {**dict.fromkeys(kernels.OPTIONS), **kernels.DEFAULTS, **size}
    found = kernels.run(**{**given, "rounds": 1, "seconds": 0.0, "work": "step,image"})
    assert here.asked == {
        f"{kind}, {name}": {"TF_ENABLE_ONEDNN_OPTS": value}
        for kind in ("step", "image")
        for name, value in (("oneDNN", "1"), ("own", "0"))
    }
    ratios = found["own over oneDNN"]
    assert set(ratios) == {"step", "image"}
    assert set(ratios["step"].values()) == {2.0}


def test_a_teacher_is_measured_as_it_predicts(tools):
    """Folded: the same logits."""
    prepare = tools("our_inference").prepare
    config = TrainConfig(dataset="digits", model="cifar_resnet20", depth=8).flat()
    config = json.loads(json.dumps(config))
    said = []
    for as_teacher in (False, True):
        tf.keras.utils.set_random_seed(0)
        made = prepare(config=config, batch=3, xla=False, as_teacher=as_teacher)
        said.append(made.call())
    np.testing.assert_allclose(said[0], said[1], atol=1e-4)
    assert not np.array_equal(said[0], said[1])


def test_processor_seconds_are_those_of_the_turn(tools, jobs):
    """Three calls of 0.02 s by the clock, in which two threads were busy; each works twice."""
    with tools("turns").Processes() as processes:
        processes.start(jobs("a", times=2, threads=2))
        processes.take_turns(rounds=2, seconds=0.05)
        used = processes.figures()["a"]["cpu_seconds"]
    assert used == pytest.approx({"best": 0.02, "median": 0.02, "worst": 0.02})


def test_a_benchmark_that_is_ended_leaves_nothing_behind(tmp_path):
    flags = ("--flagfile=flags/digits_mixer.flags", "--rounds=1", "--batch_size=32")
    process = processes.start(
        *("-m", "tools.benchmark", "all", "--only=startup", *flags),
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )

    def trainings():
        """Programs that write somewhere below the folder."""
        lines = [f.read_bytes() for f in Path("/proc").glob("[0-9]*/cmdline") if f.exists()]
        return [x for x in lines if b"std_keras\0train\0" in x and str(tmp_path).encode() in x]

    deadline = time.monotonic() + 600
    while not trainings() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.1)
    assert trainings()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=600) == 128 + signal.SIGTERM
    assert not trainings()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_train_beside_torch(tmp_path):
    pytest.importorskip("torch")
    flags = [
        *("--flagfile=flags/cifar100_mixer_s4_std.flags", "--patch_size=8"),
        "--teacher=runs/cifar100_resnet20,site=last",
        *("--width=16", "--depth=2", "--batch_size=8"),
        *("--against=torch", "--torch_variants=eager", "--rounds=2", "--seconds=0"),
        *(f"--json={tmp_path}/all.json", f"--csv={tmp_path}/main.csv"),
    ]
    done = run("train", *flags)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "all.json").read_text())
    assert set(found["variants"]) == {"plain", "xla", "torch eager"}
    for figures in found["variants"].values():
        assert 0 < figures["share"] < 1
        assert figures["peak_bytes"] > figures["before_first_call_bytes"]
        assert figures["idle_cpu_seconds"] < 1
    ours = min(found["variants"][name]["seconds"]["best"] for name in ("plain", "xla"))
    theirs = found["variants"]["torch eager"]["seconds"]["best"]
    assert found["ratios"]["torch eager / ours"]["best"] == pytest.approx(theirs / ours)
    assert "torch eager" in done.stdout
    assert len((tmp_path / "main.csv").read_text().splitlines()) > 10


@pytest.mark.slow
def test_all(tmp_path):
    flags = [
        "--flagfile=flags/digits_mixer_std.flags",
        "--teacher=runs/digits_resnet20,site=last",
        *("--patch_size=2", "--width=16", "--depth=2", "--batch_size=8", "--rounds=2"),
        "--only=infer,overhead,growth,startup",
        *(f"--json={tmp_path}/all.json", f"--csv={tmp_path}/main.csv"),
    ]
    done = run("all", *flags)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "all.json").read_text())
    assert set(found) == {"benchmark", "infer", "overhead", "growth", "startup"}
    assert set(found["infer"]["variants"]) == {
        f"{name}, batch {size}" for name in ("plain", "xla") for size in (1, 8)
    }
    assert found["overhead"]["variants"]["one token set at the last site"]["parameters_percent"] > 0
    assert set(found["growth"]["fits"]) == {"batch", "patches", "teachers"}
    started = found["startup"]["variants"]["plain"]
    assert 0 < started["to_model"]["best"] < started["to_first_step"]["best"]
    with (tmp_path / "main.csv").open(newline="") as file:
        parts = {row["figure"].partition("/")[0] for row in csv.DictReader(file)}
    assert parts == {"infer", "overhead", "growth", "startup"}
