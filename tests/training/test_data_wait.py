"""A step that computes does not count as one that waits for data, however few threads there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys


def test_on_one_core_computing_is_not_waiting(root, tmp_path):
    # A thread that has the data may take up the computation before it looks at the clock again.
    core = min(os.sched_getaffinity(0))
    flags = "--dataset=digits --model=mixer_s16 --patch_size=2 --width=128 --depth=2 --epochs=1"
    more = f"--batch_size=64 --max_train_examples=512 --log_every_steps=1 --model_dir={tmp_path}"
    subprocess.run(
        [sys.executable, "-m", "std_keras.train", *flags.split(), *more.split()],
        cwd=root,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        capture_output=True,
        check=True,
    )
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    waits = sorted(line["data_wait"] for line in lines if "data_wait" in line)
    assert len(waits) == 8
    # The digits lie in memory: a batch of them takes a thousandth of a step.
    assert waits[4] < 0.3
