"""Two worker processes on this machine train what one process trains."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

FLAGS = (
    "--dataset=digits",
    "--model=mixer_s16",
    "--patch_size=4",
    "--width=16",
    "--depth=2",
    "--batch_size=64",
    "--optimizer=sgd",
    "--learning_rate=0.05",
    "--ema_decay=0.9",
    "--clip_norm=1",
    "--log_every_steps=5",
)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def start_workers(root, run, *arguments):
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    workers = []
    for index in range(2):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        workers.append(
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "std_keras.train", *FLAGS, *arguments),
                    *("--strategy=multi_worker", f"--model_dir={run}"),
                ],
                cwd=root,
                env={**os.environ, "TF_CONFIG": json.dumps(task)},
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return workers


def weights_of(run):
    import keras

    from std_keras import layers  # noqa: F401 (registers what the file holds)

    return keras.models.load_model(run / "model.keras", compile=False).get_weights()


def test_two_workers_end_with_the_weights_of_one_process(root, run_program, tmp_path):
    arguments = ("--epochs=1", "--max_train_examples=640", "--max_test_examples=100")
    workers = start_workers(root, tmp_path / "cluster", *arguments)
    said = [worker.communicate(timeout=300)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert "2 replica(s)" in said[0]
    alone = run_program("train", *FLAGS, *arguments, f"--model_dir={tmp_path / 'alone'}")
    assert alone.returncode == 0, alone.stderr
    results = [json.loads((tmp_path / n / "result.json").read_text()) for n in ("cluster", "alone")]
    loss = [result["heads"]["classification"]["loss"] for result in results]
    assert loss[0] == pytest.approx(loss[1], rel=1e-5)
    pairs = zip(weights_of(tmp_path / "cluster"), weights_of(tmp_path / "alone"), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_a_signal_to_one_worker_stops_all_at_the_same_step(root, tmp_path):
    run = tmp_path / "run"
    workers = start_workers(root, run, "--epochs=400")
    deadline = time.monotonic() + 200
    while not ((run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_text()):
        assert time.monotonic() < deadline
        assert all(worker.poll() is None for worker in workers)
        time.sleep(0.2)
    workers[1].send_signal(signal.SIGTERM)
    said = [worker.communicate(timeout=200)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [75, 75], said
    stopped = [text.rsplit("interrupted after step ", 1)[1].split()[0] for text in said]
    assert stopped[0] == stopped[1]
    assert (run / "checkpoints" / f"ckpt-{stopped[0]}.index").exists()
