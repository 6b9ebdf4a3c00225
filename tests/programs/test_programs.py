"""The programs as a user meets them: from the command line, good and bad."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests import processes

TINY = (
    "--dataset=digits",
    "--model=mixer_s16",
    "--patch_size=4",
    "--width=16",
    "--depth=2",
    "--epochs=2",
    "--batch_size=64",
    "--max_train_examples=320",
    "--max_test_examples=100",
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A run directory of a tiny teacher, trained by the program."""
    path = tmp_path_factory.mktemp("runs") / "teacher"
    done = processes.run("-m", "std_keras.train", *TINY, f"--model_dir={path}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return path


def one_line_error(said, expected=2):
    """Asserts exit code and form, and returns the sentence."""
    code, _, error = said
    assert code == expected, error
    assert "Traceback" not in error
    line = error.strip().splitlines()[-1]
    assert line.startswith("error: ")
    return line


def said_by(done):
    """What `run_command` returns, of a process."""
    return done.returncode, done.stdout, done.stderr


def test_start_up_is_silent_but_for_our_own_lines(root, teacher):
    done = subprocess.run(
        [sys.executable, "-m", "std_keras.train", *TINY, f"--model_dir={teacher}"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )  # Finished: nothing to do.
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert "strategy one_device" in lines[0]
    assert "finished run" in lines[-1]
    assert all(" data: " in line for line in lines[1:-1]), done.stderr
    assert 3 <= len(lines) <= 6, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model=mixer_s17",), ("--model=mixer_s17", "mixer_s16")),
        (("--dataset=cifar101", "--data_dir=/nowhere"), ("cifar101",)),
        (
            ("--dataset=cifar100", "--data_dir=/nowhere"),
            ("tfds.load('cifar100', data_dir='/nowhere')", "--data_dir=/nowhere"),
        ),
        (("--dataset=folder:/nowhere", "--image_size=32"), ("/nowhere",)),
        (("--patch_size=3",), ("patch_size", "3", "8")),
        (("--learning_rate=-1",), ("--learning_rate=-1",)),
        (("--batch_size=100000",), ("--batch_size=100000",)),
        (("--distillation=hard",), ("--distillation=hard", "--teacher")),
        (("--distillation=hard", "--teacher=/nowhere"), ("/nowhere",)),
        (("--distillation=hard", "--teacher=x,site=middle"), ("site=middle", "intermediate")),
        (("--distillation=hard", "--teacher=x,spot=last"), ("spot=last", "site")),
        (("--model_dir=/dev/null/x",), ("/dev/null/x",)),
        (("--flagfile=/nowhere.flags",), ("/nowhere.flags",)),
    ],
)
def test_bad_input_gets_a_sentence_and_exit_code_2(run_command, tmp_path, arguments, words):
    line = one_line_error(
        run_command("train", *TINY, f"--model_dir={tmp_path / 'run'}", *arguments)
    )
    for word in words:
        assert word in line
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--batch_size=63",), ("--batch_size=63", "2")),
        (("--jit_compile",), ("--jit_compile",)),
    ],
)
def test_bad_input_on_two_devices_does_too(tmp_path, arguments, words):
    """In a process of its own: devices are counted once in the life of a process."""
    two = ("--strategy=mirrored", "--logical_cpus=2", f"--model_dir={tmp_path / 'run'}")
    done = processes.run("-m", "std_keras.train", *TINY, *two, *arguments)
    line = one_line_error(said_by(done))
    for word in words:
        assert word in line
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_directory_of_another_configuration_is_refused_with_the_flag_named(run_command, teacher):
    changed = ("--learning_rate=0.5", "--seed=3")
    line = one_line_error(run_command("train", *TINY, f"--model_dir={teacher}", *changed))
    assert "--learning_rate=0.001, now 0.5" in line
    assert "--seed=0, now 3" in line


def test_a_teacher_of_other_classes_is_refused(run_command, teacher, tmp_path):
    from PIL import Image

    for split in ("train", "val"):
        for name in ("cat", "dog"):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for index in range(40):
                Image.new("RGB", (8, 8), (index, 0, 0)).save(folder / f"{index}.png")
    said = run_command(
        "train",
        *TINY,
        f"--dataset=folder:{tmp_path / 'data'}",
        "--image_size=8",
        "--distillation=hard",
        f"--teacher={teacher}",
        f"--model_dir={tmp_path / 'run'}",
    )
    line = one_line_error(said)
    assert "1 channel(s)" in line or "10 classes" in line


def test_a_student_from_the_command_line(run_command, teacher, tmp_path):
    run = tmp_path / "student"
    done = processes.run(
        *("-m", "std_keras.train"),
        *TINY,
        "--distillation=soft",
        "--temperature=2",
        f"--teacher={teacher},site=both",
        "--mine_weight=0.01",
        "--ema_decay=0.9",
        f"--model_dir={run}",
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((run / "result.json").read_text())
    assert set(result["heads"]) == {
        "classification",
        "distillation_0_intermediate",
        "distillation_0_last",
        "distillation",
        "average",
        "confidence",
    }
    code, said, error = run_command("evaluate", f"--model_dir={run}", "--head=average")
    assert code == 0, error
    assert json.loads(said)["top1"] == pytest.approx(result["top1"], abs=1e-9)
    code, said, error = run_command("evaluate", f"--model_dir={run}", "--weights=raw")
    assert code == 0, error
    assert json.loads(said)["heads"].keys() == result["heads"].keys()
    assert json.loads(said)["top1"] == pytest.approx(result["raw_heads"]["average"]["top1"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model_dir=/nowhere",), ("/nowhere",)),
        ((), ("--model_dir is missing",)),
        (("--model_dir={teacher}", "--head=average"), ("--head=average", "classification")),
        (("--model_dir={teacher}", "--weights=ema"), ("--weights=ema", "ema_decay=0")),
        (("--model_dir={teacher}", "--split=validation"), ("--split=validation",)),
    ],
)
def test_evaluate_refuses_what_it_cannot_do(run_command, teacher, arguments, words):
    line = one_line_error(run_command("evaluate", *(a.format(teacher=teacher) for a in arguments)))
    for word in words:
        assert word in line


def wait_for_metrics(run, process):
    deadline = time.monotonic() + 600
    file = run / "metrics.jsonl"
    while not (file.exists() and file.read_text().count("\n") >= 3):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def steps_logged(run):
    """The steps in the log; a last line that is being written is left out."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines if line.endswith("}")]


def test_interrupted_training_continues(run_command, tmp_path):
    """One run, ended in each way in turn; while it goes on, nobody else may have its directory."""
    run = tmp_path / "run"
    arguments = (
        *TINY[:5],
        "--epochs=400",
        "--warmup_epochs=1",
        "--batch_size=64",
        "--checkpoint_every_steps=20",
        "--log_every_steps=10",
        f"--model_dir={run}",
    )
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGTERM)
    logged = []
    for count, number in enumerate(ends):
        process = processes.start("-m", "std_keras.train", *arguments)
        try:
            if not count:
                wait_for_metrics(run, process)
                line = one_line_error(run_command("train", *arguments))
                assert "in use by another process" in line
            else:
                deadline = time.monotonic() + 600
                # Past what the process before it logged: that part was trained again.
                while (steps_logged(run) or [0])[-1] <= max(logged) + 20:
                    assert process.poll() is None, process.stderr.read()
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
        finally:
            process.send_signal(number)
            _, said = process.communicate(timeout=600)
        if number == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
        else:
            assert process.returncode == 75, said
            assert "run the same command to continue" in said
        assert ("continuing" in said) == bool(count), said
        logged = steps_logged(run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    train = [line["step"] for line in lines if "loss/total" in line]
    # Nothing twice, nothing left out: the log is the one of an uninterrupted run.
    assert train == sorted(set(train))
    assert set(range(10, max(train), 10)) <= set(train)


def test_a_diverging_run_exits_3_and_names_the_figure(run_command, tmp_path):
    said = run_command(
        "train",
        *TINY,
        "--optimizer=sgd",
        "--learning_rate=1e20",
        "--warmup_epochs=0",
        f"--model_dir={tmp_path / 'run'}",
    )
    line = one_line_error(said, 3)
    assert re.search(r"(loss/total|norm/gradient) became non-finite at step \d+;", line)


def test_a_full_disk_exits_5_and_leaves_the_earlier_checkpoint(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    run = tmp_path / "run"
    run.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", run], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let a test mount a file system")
    arguments = (*TINY[:3], "--width=48", "--depth=2", "--epochs=400", "--batch_size=64")
    try:
        done = processes.run(
            *("-m", "std_keras.train"),
            *arguments,
            "--keep_checkpoints=100",
            "--checkpoint_every_steps=2",
            f"--model_dir={run}",
        )
        line = one_line_error(said_by(done), 5)
        assert "checkpoint" in line
        assert "No space left" in line or "space" in line
        import tensorflow as tf

        latest = tf.train.latest_checkpoint(str(run / "checkpoints"))
        assert latest is not None
        assert len(tf.train.list_variables(latest)) > 10
    finally:
        subprocess.run(["umount", run], check=True)
