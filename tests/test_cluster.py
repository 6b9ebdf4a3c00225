"""Two worker processes on this machine train what one process trains."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time

import numpy as np
import pytest

from tests import processes

FLAGS = (
    "--dataset=digits",
    "--model=mixer_s16",
    "--patch_size=4",
    "--width=16",
    "--depth=1",
    "--batch_size=64",
    "--optimizer=sgd",
    "--learning_rate=0.05",
    "--ema_decay=0.9",
    "--clip_norm=1",
    "--log_every_steps=5",
)


def free_ports(count):
    """Below those that outgoing connections take: one of these could take a worker's away."""
    found = []
    for port in random.sample(range(15_000, 32_000), 200):
        with socket.socket() as one:
            try:
                one.bind(("localhost", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            break
    return found


def start_one(run, *arguments, jobs, task_type="worker", index=0):
    task = {"cluster": jobs, "task": {"type": task_type, "index": index}}
    return processes.start(
        *("-m", "std_keras.train", *FLAGS, *arguments),
        *("--strategy=multi_worker", f"--model_dir={run}"),
        env={**os.environ, "TF_CONFIG": json.dumps(task)},
    )


def start_workers(run, *arguments, count=2):
    jobs = {"worker": [f"localhost:{port}" for port in free_ports(count)]}
    return [start_one(run, *arguments, jobs=jobs, index=index) for index in range(count)]


def weights_of(run):
    import keras

    from std_keras import layers  # noqa: F401 (registers what the file holds)

    return keras.models.load_model(run / "model.keras", compile=False).get_weights()


def finished(run, *arguments, count):
    """Trains to the end; returns the run directory."""
    # On a machine so busy that heartbeats stop, a worker counts as lost: again, as the error says.
    for _ in range(2):
        workers = start_workers(run, *arguments, count=count)
        said = [worker.communicate(timeout=600)[1] for worker in workers]
        if {worker.returncode for worker in workers} != {5}:
            break
    assert [worker.returncode for worker in workers] == [0] * count, said
    assert f"{count} replica(s)" in said[0]
    return run


SHORT = (
    *("--epochs=4", "--max_train_examples=640", "--max_test_examples=100"),
    "--checkpoint_every_steps=7",  # In the middle of an epoch of 10 steps.
)


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """A run of two workers to which nothing happens."""
    return finished(tmp_path_factory.mktemp("calm") / "run", *SHORT, count=2)


def test_workers_end_with_the_weights_of_one_process(calm, tmp_path):
    compare_with_one_process(calm, tmp_path / "alone", *SHORT)


@pytest.mark.slow
def test_three_workers_do_so_too(tmp_path):
    arguments = (*SHORT, "--epochs=1", "--batch_size=96")  # The last flags count.
    run = finished(tmp_path / "cluster", *arguments, count=3)
    compare_with_one_process(run, tmp_path / "alone", *arguments)


def compare_with_one_process(run, folder, *arguments):
    alone = processes.run("-m", "std_keras.train", *FLAGS, *arguments, f"--model_dir={folder}")
    assert alone.returncode == 0, alone.stderr
    results = [json.loads((path / "result.json").read_text()) for path in (run, folder)]
    loss = [result["heads"]["classification"]["loss"] for result in results]
    assert loss[0] == pytest.approx(loss[1], rel=1e-5)
    for ours, theirs in zip(weights_of(run), weights_of(folder), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def wait_for_a_checkpoint(run, workers):
    deadline = time.monotonic() + 600
    while not list(run.glob("checkpoints/ckpt-*.index")):
        assert time.monotonic() < deadline
        assert all(worker.poll() is None for worker in workers)
        time.sleep(0.05)


def test_a_killed_worker_costs_no_more_than_the_steps_after_the_last_checkpoint(calm, tmp_path):
    """The others leave with exit code 5; the job started again ends as if undisturbed."""
    run = tmp_path / "disturbed"
    workers = start_workers(run, *SHORT, "--steps_per_call=1")
    wait_for_a_checkpoint(run, workers)
    workers[1].kill()
    said = workers[0].communicate(timeout=600)[1]
    assert workers[0].returncode == 5, said
    assert "a worker of the cluster was lost" in said.splitlines()[-1]
    assert not (run / "result.json").exists()

    again = start_workers(run, *SHORT)
    said = [worker.communicate(timeout=600)[1] for worker in again]
    assert [worker.returncode for worker in again] == [0, 0], said
    assert "continuing" in said[0]
    for ours, theirs in zip(weights_of(run), weights_of(calm), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_signal_to_one_worker_stops_all_at_the_same_step(tmp_path):
    run = tmp_path / "run"
    workers = start_workers(run, "--epochs=400")
    deadline = time.monotonic() + 600
    while not ((run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_text()):
        assert time.monotonic() < deadline
        assert all(worker.poll() is None for worker in workers)
        time.sleep(0.2)
    workers[1].send_signal(signal.SIGTERM)
    said = [worker.communicate(timeout=600)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [75, 75], said
    stopped = [text.rsplit("interrupted after step ", 1)[1].split()[0] for text in said]
    assert stopped[0] == stopped[1]
    assert (run / "checkpoints" / f"ckpt-{stopped[0]}.index").exists()


def listens(port):
    with socket.socket() as one:
        return one.connect_ex(("localhost", port)) == 0


@pytest.fixture
def waiting(tmp_path):
    """Worker 0 of a cluster whose worker 1 never comes, once it listens."""
    ports = free_ports(2)
    jobs = {"worker": [f"localhost:{port}" for port in ports]}
    worker = start_one(tmp_path / "run", jobs=jobs)
    deadline = time.monotonic() + 600
    while not listens(ports[0]):
        assert worker.poll() is None, worker.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield worker
    worker.kill()
    worker.wait()
    worker.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_worker_that_waits_for_another(waiting, number):
    waiting.send_signal(number)
    said = waiting.communicate(timeout=600)[1]
    assert waiting.returncode == 75, said
    assert "interrupted while waiting for worker 1 (localhost:" in said.splitlines()[-1]


def test_a_worker_that_never_comes_is_named(tmp_path):
    jobs = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    worker = start_one(tmp_path / "run", "--cluster_wait_seconds=1", jobs=jobs, index=1)
    said = worker.communicate(timeout=600)[1]
    assert worker.returncode == 5, said
    assert f"s for worker 0 ({jobs['worker'][0]})" in said.splitlines()[-1]
    assert "--cluster_wait_seconds=1" in said.splitlines()[-1]


@pytest.mark.parametrize("index", [0, 1])
def test_a_worker_that_ends_after_it_has_answered(tmp_path, index):
    """Before TensorFlow connects them, which then has a limit; the first one leads the others."""
    jobs = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    other = int(jobs["worker"][1 - index].rpartition(":")[2])
    with socket.create_server(("", other)) as answers:
        worker = start_one(tmp_path / "run", "--cluster_wait_seconds=1", jobs=jobs, index=index)
        answers.settimeout(600)
        answers.accept()[0].close()
    said = worker.communicate(timeout=600)[1]
    assert worker.returncode == 5, said
    assert "connecting, for 1 s at most" in said
    # TensorFlow may log below it.
    assert "\nerror: not all processes of the cluster connected within 1 s" in said
    assert "Traceback" not in said


def test_ctrl_c_while_tensorflow_connects(tmp_path):
    jobs = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    with socket.create_server(("", int(jobs["worker"][1].rpartition(":")[2]))) as answers:
        worker = start_one(tmp_path / "run", "--cluster_wait_seconds=0", jobs=jobs)
        answers.settimeout(600)
        answers.accept()[0].close()
    for line in worker.stderr:
        if "connecting" in line:
            break
    worker.send_signal(signal.SIGINT)
    # As shells put it, 130; or 75, if it was quicker than TensorFlow.
    assert worker.wait(timeout=600) in (-signal.SIGINT, 75)
    worker.stderr.close()


def test_a_port_in_use(tmp_path):
    with socket.create_server(("", 0)) as taken:
        address = f"localhost:{taken.getsockname()[1]}"
        worker = start_one(tmp_path / "run", jobs={"worker": [address]})
        said = worker.communicate(timeout=600)[1]
    assert worker.returncode == 5, said
    assert f"{address}, this process's address in TF_CONFIG, is in use" in said.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("jobs", "task_type", "words"),
    [
        ({"worker": ["localhost:1"], "ps": ["localhost:2"]}, "worker", "parameter servers"),
        ({"worker": ["localhost:1"]}, "trainer", "task type 'trainer'"),
        ({"worker": "localhost:1"}, "worker", "not a list of addresses"),
        ({"worker": ["http://localhost:1"]}, "worker", "is a URL"),
    ],
)
def test_a_cluster_that_is_none_starts_no_training(tmp_path, jobs, task_type, words):
    worker = start_one(tmp_path / "run", jobs=jobs, task_type=task_type)
    said = worker.communicate(timeout=600)[1]
    assert worker.returncode == 2, said
    assert words in said.splitlines()[-1]
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_an_evaluator_evaluates_beside_a_worker(tmp_path):
    run = tmp_path / "run"
    jobs = {"worker": [f"localhost:{port}" for port in free_ports(1)]}
    arguments = ("--epochs=2", "--max_train_examples=640", "--max_test_examples=100")
    evaluator = start_one(run, jobs=jobs, task_type="evaluator")
    worker = start_one(run, *arguments, jobs=jobs)
    said = [process.communicate(timeout=600)[1] for process in (worker, evaluator)]
    assert [worker.returncode, evaluator.returncode] == [0, 0], said
    assert "steps of" not in said[1], "it trained"
    line = json.loads((run / "evaluations.jsonl").read_text().splitlines()[-1])
    result = json.loads((run / "result.json").read_text())
    assert line["step"] == result["steps"]
    assert line["ema/classification/top1"] == pytest.approx(result["top1"])
