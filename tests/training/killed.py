"""A training in a process of its own that is killed (kill -9) in the middle."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from std_keras.config import TrainConfig
from tests import processes

SCRIPT = Path(__file__).parent / "interrupted_process.py"


def train_and_kill(
    config: TrainConfig,
    *,
    folder: Path,
    run: Path,
    after_step: int,
    python: Sequence[str] = (str(SCRIPT),),
) -> None:
    """Trains into `run` until the checkpoint of `after_step` is there, and kills the process.

    Args:
      config: what is trained.
      folder: does not exist yet; the process reads its configuration from there.
      run: the run directory.
      after_step: one that `config` saves.
      python: what the interpreter is given before the two folders and the step.
    """
    folder.mkdir()
    (folder / "config.json").write_text(config.to_json())
    process = processes.start(*python, folder, run, str(after_step))
    try:
        deadline = time.monotonic() + 600
        while not (run / "checkpoints" / f"ckpt-{after_step}.index").exists():
            assert process.poll() is None, process.stderr.read()[-3000:]
            assert time.monotonic() < deadline, "the checkpoint did not appear"
            time.sleep(0.05)
    finally:
        process.kill()
        process.communicate()
