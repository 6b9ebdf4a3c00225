"""Starts a cluster of worker processes on this machine that train one model together.

Usage: std-keras launch --workers=N FLAGS-OF-TRAINING...
Every worker runs `std-keras train FLAGS-OF-TRAINING... --strategy=multi_worker` with its own
TF_CONFIG, as the machines of a real cluster do. Lines of workers other than the first are printed
with the worker's number. Ctrl-C and SIGTERM stop all workers.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO

from std_keras.config import TrainConfig, defaults
from std_keras.config.option import RUN, Option
from std_keras.errors import InputError, Interrupted, MachineError, StdKerasError
from std_keras.programs import flags, installation, shared_options
from std_keras.programs.program import StopRequest
from std_keras.runs.run_directory import RunDirectory

# Longer than a worker takes to notice that another one has gone.
_PATIENCE = 300.0
_ABOUT = (
    "Starts a cluster of worker processes on this machine that train one model together. It also "
    "takes the flags of std-keras train. Ctrl-C and SIGTERM stop all workers."
)
OPTIONS = {
    "workers": Option(
        topic=RUN,
        help="Number of processes; must divide --batch_size.",
        kind=int,
        check=lambda v: 1 <= v <= 64,
        wanted="between 1 and 64",
    )
}


class WorkerError(StdKerasError):
    """A worker failed with its own exit code and message."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Starts the workers and waits for them."""
    parsed = flags.parse(
        arguments,
        program="std-keras launch",
        about=_ABOUT,
        options={**OPTIONS, **shared_options.training()},
        defaults=defaults(),
        required=("workers", "model_dir"),
    )
    # Checked here, once, instead of in every worker.
    config = TrainConfig(**{n: v for n, v in parsed.items() if n not in ("workers", "model_dir")})
    count = int(parsed["workers"])
    _check_shares(config, count)
    folder = RunDirectory(parsed["model_dir"])
    folder.prepare()
    folder.release()  # To the first worker.
    rest = _of_training(arguments)
    addresses = free_addresses(count)
    workers = [_start(index, addresses, rest) for index in range(count)]
    readers = [
        threading.Thread(target=_show, args=(worker.stderr, index), daemon=True)
        for index, worker in enumerate(workers)
    ]
    for reader in readers:
        reader.start()
    first = _wait(workers, stop)
    for reader in readers:
        reader.join(timeout=5)
    _judge(workers, first)


def _check_shares(config: TrainConfig, workers: int) -> None:
    """Refuses a batch that cannot be shared out among the workers, whatever devices each has."""
    steps = config.optimization.accumulation_steps
    if config.optimization.batch_size % (workers * steps):
        raise InputError(
            f"batch_size={config.optimization.batch_size} is not divisible by workers={workers}"
            + (f" x accumulation_steps={steps}" if steps > 1 else "")
            + f"; use a multiple of {workers * steps}"
        )


def _of_training(arguments: Sequence[str]) -> list[str]:
    """The arguments without `--workers`, written as one word or as two."""
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, _ = word.lstrip("-").partition("=")
        if not (word.startswith("-") and name == "workers"):
            rest.append(word)
        elif not equals:
            next(words)
    return rest


def free_addresses(count: int) -> list[str]:
    """Addresses on this machine.

    Their ports lie below those that outgoing connections take: one of these could take a port away
    before its worker listens on it.
    """
    found: list[str] = []
    for port in random.sample(range(15_000, 32_000), 1_000):
        with socket.socket() as one:
            try:
                one.bind(("localhost", port))
            except OSError:
                continue
        found.append(f"localhost:{port}")
        if len(found) == count:
            return found
    raise MachineError(f"there are no {count} free ports between 15000 and 32000 on this machine")


def _start(index: int, addresses: list[str], arguments: Sequence[str]) -> subprocess.Popen[str]:
    task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    environment = {**installation.environment(), "TF_CONFIG": json.dumps(task)}
    # Each takes its share of the cores; all of them together would take them several times over.
    share = str(max(1, (os.cpu_count() or 1) // len(addresses)))
    environment.setdefault("TF_NUM_INTRAOP_THREADS", share)
    return subprocess.Popen(
        installation.command("train", *arguments, "--strategy=multi_worker"),
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C must reach a worker once, from here, not a second time from the terminal.
        start_new_session=True,
    )


def _show(lines: IO[str], index: int) -> None:
    for line in lines:
        sys.stderr.write(line if index == 0 else f"[worker {index}] {line}")
        sys.stderr.flush()


def _wait(workers: list[subprocess.Popen[str]], stop: StopRequest) -> int | None:
    """Waits for all; returns the worker that was the first to fail, if one did."""
    told, first, since = False, None, 0.0
    while any(worker.poll() is None for worker in workers):
        if stop and not told:
            told = True
            for worker in workers:
                if worker.poll() is None:
                    worker.send_signal(signal.SIGTERM)
        if first is None:
            failed = [i for i, worker in enumerate(workers) if worker.poll() not in (None, 0)]
            if failed:
                first, since = failed[0], time.monotonic()
        elif time.monotonic() - since > _PATIENCE:
            for worker in workers:
                worker.kill()
        time.sleep(0.1)
    failed = [i for i, worker in enumerate(workers) if worker.returncode]
    return first if first is not None else failed[0] if failed else None


def _judge(workers: list[subprocess.Popen[str]], first: int | None) -> None:
    if first is None:
        return
    codes = [worker.returncode for worker in workers]
    if set(codes) <= {0, 75}:
        raise Interrupted("all workers saved a checkpoint; run the same command to continue")
    if codes[first] < 0:
        raise MachineError(
            f"worker {first} was killed by signal {-codes[first]}; run the same command to "
            "continue from the last checkpoint"
        )
    raise WorkerError(f"worker {first} ended with exit code {codes[first]}", codes[first])
