"""Runs all benchmarks in turn, each in a process of its own.

Takes the flags of a training, for those that measure one; input takes the size of its images, and
export, which has a Mixer of its own, that of its patches, its width and depth too. --json=FILE gets
the results of all by name, --csv=FILE the rows of all. One that fails stops no other; the exit code
is 5 then.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from std_keras import progress
from std_keras.config import TrainConfig, options
from std_keras.config.option import Option
from tools.benchmarks import setting, startup, train_step

_TOPIC = "All benchmarks"
NAMES = ("input", "train", "infer", "overhead", "growth", "startup", "export")
# In these, --against=torch has this name.
_OTHERS = {"input": "timm", "export": "pytorch", "train": "torch", "infer": "torch"}
OPTIONS = {
    "only": Option(
        topic=_TOPIC, help=f"Some of {', '.join(NAMES)}, separated by commas.", kind=str
    ),
    **{
        name: dataclasses.replace(train_step.OPTIONS[name], topic=_TOPIC)
        for name in ("against", "rounds")
    },
    **options(),
}
DEFAULTS = {
    "only": ",".join(NAMES),
    **{k: v for k, v in train_step.DEFAULTS.items() if k in OPTIONS},
}
FIGURES = ()  # Each benchmark writes its own rows.
_PROGRAM = (sys.executable, "-m", "tools.benchmark")


def run(*, only: str, csv: str | None, **flags: Any) -> dict[str, Any]:
    """The results by name; the tables were printed. See the module's text and `OPTIONS`."""
    names = train_step.chosen("only", only, NAMES)
    against, rounds = flags.pop("against"), flags.pop("rounds")
    train_step.check_turns(rounds, 0.0)
    config = TrainConfig(**flags)
    found: dict[str, Any] = {"benchmark": "all"}
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            progress.say(f"benchmark {name}")
            path = Path(folder) / f"{name}.json"
            given = [*commands(name, config, against=against, rounds=rounds), f"--json={path}"]
            given += [f"--csv={csv}"] if csv else []
            code = _ended([*_PROGRAM, name, *given])
            print(flush=True)
            if code:
                progress.warn(f"the benchmark {name} ended with exit code {code}")
                failed.append(name)
            else:
                found[name] = json.loads(path.read_text(encoding="utf-8"))
    return found | ({"failed": failed} if failed else {})


def _ended(command: list[str]) -> int:
    """Runs a program and returns its exit code; it ends with this process."""
    process = subprocess.Popen(command)
    try:
        return process.wait()
    finally:
        process.terminate()  # Not to kill it: it has processes of its own to end.
        process.wait()


def commands(name: str, config: TrainConfig, *, against: str, rounds: int) -> list[str]:
    """The flags of one of the benchmarks."""
    given = []
    if against != "none" and name in _OTHERS:
        given.append(f"--against={_OTHERS[name]}")
    if name == "input":
        return [*given, f"--image_size={setting.image_size(config)}"]
    if name == "export":
        sizes = {
            "image_size": setting.image_size(config),
            "patch_size": config.model.patch_size or 16,
        }
        sizes |= {k: v for k in ("width", "depth") if (v := getattr(config.model, k)) is not None}
        return [*given, *(f"--{size}={value}" for size, value in sizes.items())]
    return [*given, f"--rounds={rounds}", *startup.as_flags(config)]
