"""A step that computes does not count as one that waits for data, however few threads there are."""

from __future__ import annotations

import json
import os

from tests import processes


def test_on_one_core_computing_is_not_waiting(tmp_path):
    # A thread that has the data may take up the computation before it looks at the clock again.
    core = min(os.sched_getaffinity(0))
    flags = "--dataset=digits --model=mixer_s16 --patch_size=2 --width=128 --depth=2 --epochs=1"
    more = f"--batch_size=64 --max_train_examples=512 --log_every_steps=1 --model_dir={tmp_path}"
    program = (
        f"import os, runpy; os.sched_setaffinity(0, {{{core}}});"
        "runpy.run_module('std_keras.train', run_name='__main__', alter_sys=True)"
    )
    processes.run("-c", program, *flags.split(), *more.split()).check_returncode()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    waits = sorted(line["data_wait"] for line in lines if "data_wait" in line)
    assert len(waits) == 8
    # The digits lie in memory: a batch of them takes a thousandth of a step.
    assert waits[4] < 0.3
