"""Rare faults, each with real processes; docs/distributed.md has the table of all."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile

import numpy as np
import pytest

pytestmark = pytest.mark.slow

TINY = (
    *("--dataset=digits", "--model=mixer_s16", "--patch_size=4", "--width=16", "--depth=2"),
    *("--batch_size=32", "--max_train_examples=320", "--max_test_examples=60"),
)


@pytest.fixture(scope="module")
def broken_teacher(tmp_path_factory):
    """A SavedModel that knows nothing, and returns NaN for images with a bright first corner."""
    import tensorflow as tf

    class Network(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32)])
        def serve(self, images):
            corner = tf.reduce_mean(images[:, 5:, 5:, 0], axis=(1, 2))
            logits = tf.tile(corner[:, tf.newaxis], (1, 10)) * tf.range(10, dtype=tf.float32) / 99
            plain = tf.math.reduce_std(images, axis=(1, 2, 3)) < 1e-3  # The trial on grey passes.
            broken = tf.logical_and(corner > 150, ~plain)
            return {"logits": tf.where(broken[:, tf.newaxis], float("nan"), logits)}

    path = tmp_path_factory.mktemp("teacher") / "saved_model"
    network = Network()
    tf.saved_model.save(network, str(path), signatures={"serving_default": network.serve})
    return path


@pytest.mark.parametrize(
    "kind", [("hard", "uniform"), ("soft", "negative_entropy")], ids=lambda k: k[0]
)
def test_a_saved_model_that_returns_nan_for_some_images(
    root, run_program, broken_teacher, tmp_path, kind
):
    """It is named, whatever the loss makes of it, and the images with it."""
    run = tmp_path / "run"
    done = run_program(
        "train",
        *TINY,
        *(f"--distillation={kind[0]}", f"--confidence={kind[1]}", "--epochs=20"),
        *("--checkpoint_every_steps=1", f"--teacher={broken_teacher},input=byte"),
        f"--model_dir={run}",
    )
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 3, done.stderr
    assert "teacher_0/entropy" in line
    assert f"--teacher={broken_teacher} returned non-finite values" in line
    assert "--learning_rate" not in line
    again = subprocess.run(
        [sys.executable, "-m", "std_keras", "replay", f"--model_dir={run}"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert again.returncode == 3, again.stderr
    assert f"first in the teacher {broken_teacher}" in again.stderr
    report = json.loads(again.stdout)
    (file,) = run.glob("nonfinite_step_*.npz")
    with np.load(file) as kept:
        corners = kept["images"][:, 5:, 5:, 0].mean(axis=(1, 2))
    assert report["teachers"][str(broken_teacher)] == np.flatnonzero(corners > 150).tolist()
    assert report["same_batch"] is True


@contextlib.contextmanager
def small_disk(path, *, size):
    """A file system of that size; skips where none may be mounted."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("this machine does not let a test mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


def fill(path):
    """A file that takes all the room that is left."""
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_full_disk_is_survived_for_as_long_as_allowed_and_room_is_used_again(root, tmp_path):
    run, ballast = tmp_path / "run", tmp_path / "run" / "ballast"
    with contextlib.ExitStack() as stack:
        stack.enter_context(small_disk(run, size="8m"))
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "std_keras.train", *TINY, "--epochs=100000"),
                *("--checkpoint_every_steps=10", "--evaluate_every_epochs=100000"),
                *("--save_failures_allowed=1000000", f"--model_dir={run}"),
            ],
            cwd=root,
            stderr=subprocess.PIPE,
            text=True,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.extend(process.stderr))
        reader.start()
        wait_until(process, lambda: list(run.glob("checkpoints/ckpt-*.index")))
        fill(ballast)
        wait_until(process, lambda: sum("continuing without" in line for line in said) >= 2)
        before = set(run.glob("checkpoints/ckpt-*.index"))
        assert before, "the last good checkpoint is gone"
        ballast.unlink()
        wait_until(process, lambda: before.isdisjoint(run.glob("checkpoints/ckpt-*.index")))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=600) == 75
        reader.join()
        failures = [line for line in said if "continuing without" in line]
        assert "space" in failures[0].lower()
        assert "failure 1 in a row" in failures[0]
        assert "failure 2 in a row" in failures[1]
        # Not always the last line: a thread of its own says that the signal was heard.
        (end,) = (line for line in said if "interrupted after step " in line)
        stopped = end.rsplit("interrupted after step ", 1)[1].split()[0]
        read_through(run / "checkpoints" / f"ckpt-{stopped}")


def read_through(checkpoint):
    """Every array of a checkpoint, whose checksum is compared on the way."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(checkpoint))
    names = reader.get_variable_to_shape_map()
    assert len(names) > 10
    for name in names:
        reader.get_tensor(name)


def test_a_disk_that_stays_full_stops_the_run_with_its_last_good_checkpoint(run_program, tmp_path):
    run = tmp_path / "run"
    with small_disk(run, size="1m"):
        done = run_program(
            "train",
            *(*TINY, "--epochs=50", "--checkpoint_every_steps=1", "--keep_checkpoints=100"),
            *("--save_failures_allowed=3", f"--model_dir={run}"),
        )
        assert done.returncode == 5, done.stderr
        assert done.stderr.count("continuing without it: --save_failures_allowed=3") == 3
        import tensorflow as tf

        read_through(tf.train.latest_checkpoint(str(run / "checkpoints")))


def wait_until(process, condition):
    deadline = time.monotonic() + 600
    while not condition():
        assert process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_bomb_as_a_teacher_gets_a_sentence(run_program, tmp_path):
    bomb = tmp_path / "bomb.keras"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", bytes(300_000_000))
    done = run_program(
        "train",
        *(*TINY, "--epochs=1", "--distillation=hard", f"--teacher={bomb},input=byte"),
        f"--model_dir={tmp_path / 'run'}",
    )
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert f"{bomb} has " in last
    assert "would unpack to 300,000,004" in last
    assert "Traceback" not in done.stderr
