"""One command starts a cluster on this machine."""

from __future__ import annotations

import json
import signal
import time

import pytest

from std_keras.programs import launch
from tests import processes

FLAGS = (
    *("--dataset=digits", "--model=mixer_s16", "--patch_size=4", "--width=8", "--depth=1"),
    *("--batch_size=64", "--max_train_examples=640", "--max_test_examples=64"),
)


# Its workers are forked from it before anything of TensorFlow runs; how they start as a user's do
# is below, and in tests/test_packaging.py.
LAUNCHER = """
import os, runpy, socket, sys, types
from tests import forking, processes

own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
if not forking.fork():
    own.close()
    request = forking.serve(other)
    if request is not None:
        forking.run(request)
    sys.exit()
other.close()
processes._server = lambda: own

class Popen(processes.Process):
    def __init__(self, command, *, env, **options):
        assert command[0] == sys.executable
        super().__init__(command[1:], cwd=os.getcwd(), env=env)

from std_keras.programs import launch
launch.subprocess = types.SimpleNamespace(Popen=Popen, PIPE=None)
runpy.run_module("std_keras", run_name="__main__")
"""


def start(*arguments):
    """The launcher."""
    return processes.start("-c", LAUNCHER, "launch", *arguments)


def finish(process):
    said = process.communicate(timeout=600)[1]
    return process.returncode, said


def test_two_workers_train_one_model(tmp_path):
    run = tmp_path / "run"
    code, said = finish(start("--workers=2", *FLAGS, "--epochs=1", f"--model_dir={run}"))
    assert code == 0, said
    assert "2 replica(s)" in said
    assert "[worker 1] " in said
    assert json.loads((run / "result.json").read_text())["steps"] == 10


def test_sigterm_stops_all_after_a_checkpoint(tmp_path):
    run = tmp_path / "run"
    launcher = start("--workers=2", *FLAGS, "--epochs=3000", f"--model_dir={run}")
    deadline = time.monotonic() + 600
    while not list(run.glob("checkpoints/ckpt-*.index")):
        assert launcher.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    launcher.send_signal(signal.SIGTERM)
    code, said = finish(launcher)
    assert code == 75, said
    assert "run the same command to continue" in said.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--workers=3", "--model_dir=x"), "--batch_size=64 is not divisible by --workers=3; use"),
        (
            ("--workers=2", "--accumulation_steps=64", "--model_dir=x"),
            "--workers=2 x --accumulation_steps=64; use a multiple of 128",
        ),
        (("--workers=2", "--model_dir=afile/x"), "--model_dir=afile/x cannot be used as a folder"),
    ],
)
def test_what_workers_would_refuse_is_refused_before_they_start(
    run_command, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "_start", None)
    (tmp_path / "afile").write_text("")
    code, _, said = run_command("launch", *FLAGS, *arguments)
    assert code == 2, said
    assert words in said.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model_dir=x",), "--workers is missing"),
        (("--workers=0", "--model_dir=x"), "--workers=0"),
        (("--workers=2",), "--model_dir is missing"),
        (("--workers=1", "--model_dir=x", "--epochs=no"), "epochs"),
        (("--workers=65", "--model_dir=x"), "between 1 and 64"),
        (
            ("--workers", "1", "--model_dir=x", "--dataset=folder:/nowhere", "--image_size=8"),
            "worker 0 ended with exit code 2",
        ),
    ],
)
def test_bad_input(run_command, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, _, said = run_command("launch", *arguments)
    assert code == 2, said
    assert words in said.splitlines()[-1]
    assert "Traceback" not in said
