"""Whatever is thrown at the programs, they answer with a documented exit code.

Mutated flags, configurations, checkpoints, models, images and exported files; a fixed number, from
a fixed seed. STD_KERAS_FUZZ=N throws N of each kind instead.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from std_keras.programs import program
from tests import processes
from tests.training.tiny import as_python

DOCUMENTED = {0, 2, 3, 4, 5, 75}
COUNT = int(os.environ.get("STD_KERAS_FUZZ", "0"))
TRAIN = (
    *("--dataset=digits", "--model=mixer_s16", "--patch_size=4", "--width=8", "--depth=2"),
    *("--batch_size=32", "--epochs=1", "--max_train_examples=64", "--max_test_examples=32"),
)
STRANGE = (
    *("", "0", "-1", "1e400", "nan", "inf", "-inf", "99999999999999999999", "0x10", "1,2", " "),
    *("true", "None", "../../etc/passwd", "/dev/null", "/", "\x00", "é" * 40, "a" * 5000, "%s%n"),
    *("folder:", "folder:/dev", "keras:", "keras:../x", ",site=last", "x,site=", "[]", "{}"),
)


def call(capsys, name, *arguments):
    """Runs a program in this process; its exit code and what it wrote to standard error."""
    main = importlib.import_module(f"std_keras.programs.{name}").main
    before, sys.argv = sys.argv, [name, *arguments]
    try:
        code = program.run(main)
    finally:
        sys.argv = before
    return code, capsys.readouterr().err


def check(code, error, what):
    assert code in DOCUMENTED, f"{what}: exit code {code}\n{error[-3000:]}"
    assert "Traceback" not in error, what


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = tmp_path_factory.mktemp("fuzz") / "run"
    done = processes.run(
        *("-m", "std_keras.train", *TRAIN, "--checkpoint_every_steps=1", f"--model_dir={run}")
    )
    assert done.returncode == 0, done.stderr
    return run


def flags_of(name):
    from std_keras.config import options

    if name == "train":
        return [n for n in options() if n not in ("strategy", "logical_cpus", "flagfile")]
    return ["model_dir", "head", "weights", "dataset", "split", "data_dir", "batch_size"]


def mutated_flags(rng, run):
    """A program and flags for it, some of them strange."""
    name = rng.choice(["train", "train", "evaluate", "export"])
    known = flags_of(name)
    flags = [f"--{rng.choice(known)}={rng.choice(STRANGE)}" for _ in range(rng.randint(1, 2))]
    # A training that would go on for ever is what was asked for, but no test.
    flags = [flag for flag in flags if not flag.startswith("--epochs=9")]
    if rng.random() < 0.2:
        flags.append(
            rng.choice(["--nosuch=1", "---", "-", "word", "--epochs", "--flagfile=/dev/null"])
        )
    base = list(TRAIN) if name == "train" else []
    place = f"--model_dir={run.parent / 'new'}" if name == "train" else f"--model_dir={run}"
    return name, [*base, place, *flags]


@pytest.mark.parametrize("seed", range(COUNT or 24))
def test_flags(trained, capsys, monkeypatch, tmp_path, seed):
    monkeypatch.chdir(tmp_path)
    name, arguments = mutated_flags(random.Random(seed), trained)
    shutil.rmtree(trained.parent / "new", ignore_errors=True)
    code, error = call(capsys, name, *arguments)
    check(code, error, f"{name} {arguments}")


def mutate(rng, content):
    """Bytes with some of them changed, cut off, doubled or filled in."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        if not data:
            break
        at = rng.randrange(len(data))
        kind = rng.randrange(5)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2 and rng.random() < 0.3:
            del data[at:]
        elif kind == 3:
            data[at:at] = data[at : at + rng.randrange(64)]
        else:
            data[at : at + 4] = b"\xff\xff\xff\xff"
    return bytes(data)


def mutate_json(rng, text):
    """JSON of which some values have become another kind of value."""
    value = json.loads(text)
    for _ in range(rng.randint(1, 3)):
        value[rng.choice(sorted(value))] = rng.choice(
            [None, [], {}, -1, 0, 1.5, "x", True, "../../x", 10**30, [None], float("nan")]
        )
    return json.dumps(value).encode()


FILES = ("config.json", "labels.txt", "model.keras", "architecture.json", "checkpoints")


@pytest.mark.parametrize("seed", range(COUNT or 15))
def test_run_directories(trained, capsys, tmp_path, seed):
    rng = random.Random(seed)
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    name = FILES[seed % len(FILES)]
    file = run / name
    if name == "checkpoints":
        file = rng.choice(sorted(p for p in file.iterdir() if p.is_file()))
    if name in ("architecture.json", "checkpoints"):
        (run / "model.keras").unlink()  # So that they are read.
        (run / "result.json").unlink()
    content = file.read_bytes()
    if name == "config.json" and rng.random() < 0.7:
        file.write_bytes(mutate_json(rng, content))
    else:
        file.write_bytes(mutate(rng, content))
    before = sorted(p for p in tmp_path.rglob("*"))
    code, error = call(capsys, "evaluate", f"--model_dir={run}")
    check(code, error, f"evaluate with another {file.relative_to(run)}")
    assert [p for p in tmp_path.rglob("*") if p not in before and run not in p.parents] == []
    if name == "checkpoints":
        code, error = call(capsys, "train", *TRAIN, f"--model_dir={run}")
        check(code, error, f"train with another {file.relative_to(run)}")


@pytest.mark.parametrize("seed", range(COUNT or 8))
def test_images(capsys, tmp_path, seed):
    """A folder with one altered picture, skipped or refused."""
    rng = random.Random(seed)
    pixels = np.random.default_rng(seed)
    kind = ("jpeg", "png", "gif", "bmp")[seed % 4]
    for part in ("train", "val"):
        for label in ("a", "b"):
            folder = tmp_path / "data" / part / label
            folder.mkdir(parents=True)
            for i in range(4):
                image = Image.fromarray(pixels.integers(0, 256, (9, 11, 3), dtype=np.uint8))
                image.save(folder / f"{i}.{kind}")
    victim = tmp_path / "data" / "train" / "a" / f"1.{kind}"
    victim.write_bytes(mutate(rng, victim.read_bytes()))
    with as_python():
        code, error = call(
            capsys,
            "train",
            f"--dataset=folder:{tmp_path / 'data'}",
            *("--image_size=8", "--model=mixer_s16", "--patch_size=4", "--width=8", "--depth=1"),
            *("--batch_size=4", "--epochs=1", f"--corrupt_images={rng.choice(['skip', 'refuse'])}"),
            *(f"--cache_gb={rng.choice([0, 1])}", f"--model_dir={tmp_path / 'run'}"),
        )
    check(code, error, f"altered {kind}")
