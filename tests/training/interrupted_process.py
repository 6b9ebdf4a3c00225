"""Trains to a step and stays there, so that a test can kill it.

Run as `python interrupted_process.py CONFIG DIR STEP`; the run saves a checkpoint of that step.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import tensorflow as tf

from std_keras.runs.run_directory import RunDirectory
from std_keras.training import train


def stay() -> bool:
    """Asked between steps: never returns once the checkpoint is there."""
    if (Path(sys.argv[2]) / "checkpoints" / f"ckpt-{sys.argv[3]}.index").exists():
        signal.pause()
    return False


if __name__ == "__main__":
    # As the tests do (conftest.py): other graphs may round otherwise.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    config = RunDirectory(Path(sys.argv[1])).read_config()
    train(config, model_dir=sys.argv[2], stop=stay)
