"""The command that makes a sweep: wrong flags, and a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.research.sweeps.studies import read


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only=strong",), "--only=strong is not an arm"),
        (("--budget_minutes=-1",), "--budget_minutes=-1.0 must be 0 or more"),
        (("--output=out.txt",), "must end in .csv"),
        (("another.toml",), "'another.toml' is unexpected"),
        (("--output={tmp_path}/study.toml.csv",), "is not the table of a sweep"),
    ],
)
def test_bad_flags_get_a_sentence(sweep, capsys, tmp_path, arguments, message):
    (tmp_path / "study.toml.csv").write_text("name,age\na,1\n")
    assert sweep(*(a.format(tmp_path=tmp_path) for a in arguments)) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_sweep_on_the_digits(root, tmp_path):
    """With the real training program: a teacher, a baseline and a student."""
    tiny = "--dataset=digits --epochs=1 --warmup_epochs=0 --batch_size=32"
    limits = "--max_train_examples=96 --max_test_examples=50"
    path = tmp_path / "real.toml"
    path.write_text(
        f'flags = "{tiny} {limits} --model=mixer_s16 --patch_size=4 --width=16 --depth=2"\n'
        "seeds = [0]\n[teachers]\n"
        f'small = "{tiny} {limits} --model=cifar_resnet20 --model_dir={tmp_path}/small"\n'
        '[arms]\nboth = "--distillation=hard --teacher={small}"\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "std_keras", "sweep", path, f"--output={tmp_path}/out.csv"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    teacher, both = read(tmp_path / "out.csv")
    result = json.loads((tmp_path / "runs/out/both-seed0/result.json").read_text())
    assert both["top1"] == f"{result['top1']:.4f}"
    assert both["distillation_0_last_top1"] == (
        f"{result['heads']['distillation_0_last']['top1']:.4f}"
    )
    assert both["steps"] == "3" and int(both["parameters"]) == result["parameters"]
    assert teacher["arm"] == "teacher-small" and teacher["state"] == "done"
