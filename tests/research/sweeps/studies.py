"""A small sweep whose trainings are those of a fake."""

from __future__ import annotations

import csv
from pathlib import Path

FAKE = Path(__file__).parent / "fake_train.py"
SPEC = """
title = "A study"
flags = "--flagfile=base.flags"
seeds = [0, 2]

[teachers]
small = "--model=cifar_resnet20 --epochs=1 --model_dir={here}/small"

[arms]
baseline = "--distillation=none"
weak = "--distillation=hard --teacher={{small}},site=last --alpha=0.25"
"""


def read(path):
    lines = path.read_text().splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def change(spec, old, new):
    assert old in spec.read_text()
    spec.write_text(spec.read_text().replace(old, new))


def starts(tmp_path):
    """How often the training program was started, by run directory."""
    return {f.parent.name: len(f.read_text().splitlines()) for f in tmp_path.rglob("started")}
