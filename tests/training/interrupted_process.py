"""Trains slowly, so that a test can kill it. Run as `python interrupted_process.py CONFIG DIR`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import tensorflow as tf

from std_keras.runs.run_directory import RunDirectory
from std_keras.training import train


def wait() -> bool:
    time.sleep(0.3)
    return False


if __name__ == "__main__":
    # As the tests do (conftest.py): other graphs may round otherwise.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    config = RunDirectory(Path(sys.argv[1])).read_config()
    train(config, model_dir=sys.argv[2], stop=wait)
