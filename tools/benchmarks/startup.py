"""Measures the seconds from the start of the training program to the end of its first step.

Takes the flags of a training, with data that is there, and runs `python -m std_keras.train` itself,
with and without XLA in turns, each time in a new run directory, and ends it when it has logged its
first step. A teacher that was not trained here is made from the flag file of its name.

"to_model" is the time until the data is loaded, the teachers too, and the model is built; in the
rest the step is traced, compiled and done once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from std_keras import progress
from std_keras.config import TrainConfig, defaults, options
from std_keras.config.option import Option
from std_keras.errors import InputError
from std_keras.programs import installation
from tools.benchmarks import setting, train_step

_TOPIC = "Start-up benchmark"
OPTIONS = {
    "variants": dataclasses.replace(train_step.OPTIONS["variants"], topic=_TOPIC),
    "rounds": Option(topic=_TOPIC, help="Starts of each variant.", kind=int),
    **options(),
}
DEFAULTS = {
    "variants": "plain,xla",
    "rounds": 3,
    **{k: v for k, v in train_step.DEFAULTS.items() if k in options()},
}
# Of the results, those that results/benchmarks.csv keeps.
FIGURES = ("variants/*/*",)
_ROOT = Path(__file__).resolve().parent.parent.parent
_BUILT = "trainable parameters"  # Of the line that says so.
_LONGEST = 1800.0


def run(*, variants: str, rounds: int, **flags: Any) -> dict[str, Any]:
    """The figures; see the module's text and `OPTIONS`."""
    train_step.check_turns(rounds, 0.0)
    names = train_step.chosen("variants", variants, ("plain", "xla"))
    config = TrainConfig(**flags)
    timed: dict[str, dict[str, list[float]]] = {
        name: {"to_model": [], "to_first_step": []} for name in names
    }
    with tempfile.TemporaryDirectory() as folder:
        config = setting.with_teachers(
            config, setting.dataset(config), Path(folder) / "teachers", asked=True
        )
        for number in range(rounds):
            for name in names:
                progress.say(f"start {number + 1} of {rounds}: {name}")
                own = config.replace(jit_compile=name == "xla", log_every_steps=1)
                built, stepped = _start(own, Path(folder) / f"{name}_{number}")
                timed[name]["to_model"].append(built)
                timed[name]["to_first_step"].append(stepped)
    return {
        "benchmark": "startup",
        "model": config.model.name,
        "batch_size": config.optimization.batch_size,
        "dataset": config.data.dataset,
        "precision": "bfloat16" if config.performance.mixed_precision else "float32",
        "variants": {
            name: {
                part: {"best": min(values), "median": statistics.median(values)}
                for part, values in parts.items()
            }
            for name, parts in timed.items()
        },
    }


def as_flags(config: TrainConfig) -> list[str]:
    """The flags that say what a configuration says, without those at their defaults."""
    found = []
    usual = defaults()
    for name, value in config.flat().items():
        if value == usual[name]:
            continue
        if isinstance(value, bool):
            found.append(f"--{name}" if value else f"--no{name}")
        elif isinstance(value, tuple):
            found += [f"--{name}={item}" for item in value]
        else:
            found.append(f"--{name}={value}")
    return found


def _start(config: TrainConfig, run: Path) -> tuple[float, float]:
    """Seconds until the model is built, and until the first step is done."""
    metrics = run / "metrics.jsonl"
    heard: list[tuple[float, str]] = []
    began = time.perf_counter()
    process = subprocess.Popen(
        installation.command("train", f"--model_dir={run}", *as_flags(config)),
        cwd=_ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )

    def listen() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            heard.append((time.perf_counter() - began, line.strip()))

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        while not (metrics.is_file() and metrics.stat().st_size):
            if process.poll() is not None or time.perf_counter() - began > _LONGEST:
                listener.join(timeout=5)
                said = heard[-1][1].removeprefix("error: ") if heard else "it said nothing"
                raise InputError(f"the training ended before its first step: {said}")
            time.sleep(0.02)
        stepped = time.perf_counter() - began
    finally:
        # It is not to save anything.
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.wait()
    listener.join(timeout=5)
    built = next((seconds for seconds, line in heard if _BUILT in line), float("nan"))
    return built, stepped
