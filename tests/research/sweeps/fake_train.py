"""Stands in for the training program: leaves the same files within a moment.

The accuracy follows from the seed (FAKE_SEED_WEIGHT of it) and --alpha, so that a table's means
are known. --clip_norm=99 asks it to fail as a diverged run does; --width=99 to wait until it is
told to stop, --width=98 to wait until another seed of its arm has started. `ran.json` says when it
ran, and on which cores.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from std_keras.config import TrainConfig, defaults, options, resolve
from std_keras.config.option import Option
from std_keras.programs import flags
from std_keras.runs.run_directory import RunDirectory


def main() -> int:
    stopping: list[int] = []
    ran = {"began": time.time(), "cores": sorted(os.sched_getaffinity(0))}
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.append(number))
    parsed = flags.parse(
        sys.argv[1:],
        program="fake",
        about="",
        options={"model_dir": Option(topic="", help="", kind=str), **options()},
        defaults=defaults(),
    )
    run = RunDirectory(parsed.pop("model_dir"))
    config = resolve(TrainConfig(**parsed), image_size=32, horizontal_flip=True)
    run.prepare()
    with open(run.path / "started", "a") as file:
        file.write("once\n")
    if config.optimization.clip_norm == 99:
        print("a line before\nerror: loss/total became non-finite at step 3", file=sys.stderr)
        return 3
    run.write_start(config, label_names=["a", "b"], architecture="{}")
    waited = 0.0
    while (
        config.model.width == 99
        and waited < 60
        and len((run.path / "started").open().readlines()) < 2
    ):
        time.sleep(0.05)
        waited += 0.05
        if stopping:
            return 75
    if config.model.width == 98:
        arm = run.path.name.rpartition("-")[0]
        deadline = time.monotonic() + 300
        while len(list(run.path.parent.glob(f"{arm}-*/started"))) < 2:
            if time.monotonic() > deadline:
                return 1
            time.sleep(0.02)
    weight = float(os.environ.get("FAKE_SEED_WEIGHT", "0.01"))
    top1 = 0.5 + config.optimization.seed * weight + config.distillation.alpha / 10
    heads = {"classification": {"top1": top1 - 0.1, "top5": 0.9, "loss": 1.0}}
    if config.distillation.kind != "none":
        heads["average"] = {"top1": top1, "top5": 0.95, "loss": 1.0}
    line = {"step": 9, "epoch": float(config.optimization.epochs), "split": "eval"}
    held_out = {f"raw/{h}/{n}": v / 2 for h, f in heads.items() for n, v in f.items()}
    test = {f"test/raw/{h}/{n}": v for h, f in heads.items() for n, v in f.items()}
    run.metrics_file.write_text(
        "".join(json.dumps({**line, **values}) + "\n" for values in (held_out, test))
    )
    Path(run.model_file).write_bytes(b"weights")
    run.write_result(
        {
            "top1": top1,
            "top5": 0.9,
            "head": list(heads)[-1],
            "weights": "raw",
            "heads": heads,
            "parameters": 1000,
            "macs": 2000,
            "steps": 9,
            "epochs": config.optimization.epochs,
            "images_per_second": 100.0,
            "train_seconds": 10.0,
        }
    )
    (run.path / "ran.json").write_text(json.dumps({**ran, "ended": time.time()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
