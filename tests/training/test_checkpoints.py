"""Checkpoints: nothing is forgotten, nothing damaged is taken, nothing good is lost."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras.errors import InputError, MachineError
from std_keras.training.checkpoints import Checkpoints, newest_checkpoint, restore_weights
from tests.training.tiny import make_state, student, values


def full_state(*, seed, ema=0.9, critics=True, **options):
    """A state with everything in it: two optimizers, critics, averages, random state."""
    model = student(["both"], stochastic_depth=0.5, seed=seed, **options)
    adam, critic_adam = keras.optimizers.AdamW(1e-3), keras.optimizers.Adam(1e-4)
    return make_state(model, optimizer=adam, critics=critics, critic_optimizer=critic_adam, ema=ema)


def variables_of(state):
    """Every variable that training changes, gathered without the help of the checkpoint."""
    found = [*state.model.variables, *state.optimizer.variables]
    if state.critics:
        found += [*state.critic_variables, *state.critic_optimizer.variables, state.log_averages]
    if state.average is not None:
        found += state.average._averages
    return found


def scramble(state, seed):
    """Random values for all of them, learning rates and integers included."""
    rng = np.random.default_rng(seed)
    for variable in variables_of(state):
        if "int" in str(variable.dtype):
            variable.assign(rng.integers(0, 1000, variable.shape))
        else:
            variable.assign(rng.uniform(0.1, 1.0, variable.shape))
    return state


def assert_equal(state, expected):
    for variable, value in zip(variables_of(state), expected, strict=True):
        name = getattr(variable, "path", variable.name)
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=name)


@pytest.fixture(scope="module")
def state():
    return full_state(seed=0)


def test_a_new_process_gets_everything_back(state, tmp_path):
    saved = values(variables_of(scramble(state, 1)))
    assert len(saved) > 100
    assert any(v.path.endswith("seed_generator_state") for v in state.model.variables)
    first = Checkpoints(tmp_path, state, keep=2)
    first.best = 0.625
    first.save(step=17, seconds=12.5)

    twin = scramble(full_state(seed=1), 2)
    second = Checkpoints(tmp_path, twin, keep=2)
    assert second.best == -1
    assert second.restore() == 17
    assert (second.best, second.seconds) == (0.625, 12.5)
    assert_equal(twin, saved)


def test_every_worker_but_the_chief_has_a_folder_of_its_own(tmp_path):
    """On a shared disk two would take each other's parts away."""
    state = make_state(student(depth=1))
    for worker in (1, 2):
        Checkpoints(tmp_path, state, keep=2, chief=False, worker=worker).save(step=1, seconds=0.0)
    indices = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.index")}
    assert indices == {"scratch/1/ckpt-1.index", "scratch/2/ckpt-1.index"}


def test_who_saves_nothing_makes_no_folder(tmp_path):
    checkpoints = Checkpoints(tmp_path, make_state(student(depth=1)), keep=2, chief=False)
    assert checkpoints.restore() == 0
    assert list(tmp_path.iterdir()) == []


def test_without_a_checkpoint_it_is_step_0_and_nothing_changes(state, tmp_path):
    before = values(variables_of(state))
    checkpoints = Checkpoints(tmp_path / "none", state, keep=2)
    assert checkpoints.latest is None
    assert checkpoints.restore() == 0
    assert_equal(state, before)


@pytest.mark.parametrize("keep", [1, 3])
def test_the_last_few_are_kept_also_by_the_next_process(state, tmp_path, keep):
    checkpoints = Checkpoints(tmp_path, state, keep=keep)
    for step in range(1, 5):
        checkpoints.save(step=step, seconds=0.0)
    again = Checkpoints(tmp_path, state, keep=keep)
    again.restore()
    again.save(step=5, seconds=0.0)
    left = sorted(p.name for p in tmp_path.glob("*.index"))
    assert left == [f"ckpt-{s}.index" for s in range(6 - keep, 6)]


# Damage


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def empty(file: Path) -> None:
    os.truncate(file, 0)


@pytest.mark.parametrize("damage", [cut, flip, empty, Path.unlink])
@pytest.mark.parametrize("part", ["data-00000-of-00001", "index"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(
    state, tmp_path, caplog, damage, part
):
    checkpoints = Checkpoints(tmp_path, scramble(state, 1), keep=2)
    checkpoints.save(step=1, seconds=0.0)
    expected = values(variables_of(state))
    scramble(state, 2)
    checkpoints.save(step=2, seconds=0.0)
    damage(tmp_path / f"ckpt-2.{part}")
    scramble(state, 3)

    again = Checkpoints(tmp_path, state, keep=2)
    assert again.restore() == 1
    assert_equal(state, expected)
    if not (part == "index" and damage is Path.unlink):  # Half of it gone: it does not count.
        assert f"checkpoint {tmp_path}/ckpt-2 cannot be restored" in caplog.text
        assert "function_node" not in caplog.text
    # The step is trained again, and its new checkpoint takes the damaged one's place.
    scramble(state, 2)
    again.save(step=2, seconds=0.0)
    assert Checkpoints(tmp_path, state, keep=2).restore() == 2


def test_a_run_whose_checkpoints_are_all_damaged_is_refused(state, tmp_path):
    checkpoints = Checkpoints(tmp_path, state, keep=2)
    for step in (1, 2):
        checkpoints.save(step=step, seconds=0.0)
        cut(tmp_path / f"ckpt-{step}.data-00000-of-00001")
    with pytest.raises(InputError, match=rf"no checkpoint in {tmp_path} can be restored.*ckpt-2"):
        Checkpoints(tmp_path, state, keep=2).restore()


@pytest.mark.parametrize("damage", [empty, Path.unlink])
def test_a_lost_list_of_checkpoints_is_no_silent_new_start(state, tmp_path, damage):
    checkpoints = Checkpoints(tmp_path, state, keep=3)
    for step in (9, 10):  # By name, 9 comes after 10.
        checkpoints.save(step=step, seconds=0.0)
    damage(tmp_path / "checkpoint")
    assert Checkpoints(tmp_path, state, keep=3).restore() == 10


def test_a_moved_run_is_found_again(state, tmp_path):
    Checkpoints(tmp_path / "here", state, keep=2).save(step=3, seconds=0.0)
    (tmp_path / "here").rename(tmp_path / "there")
    assert newest_checkpoint(tmp_path / "there") == str(tmp_path / "there" / "ckpt-3")
    assert Checkpoints(tmp_path / "there", state, keep=2).restore() == 3


@pytest.mark.parametrize(
    "other",
    [{"width": 8}, {"depth": 3}, {"ema": 0.0}, {"critics": False}, {"tokens": "spatial"}],
    ids=str,
)
def test_a_checkpoint_of_another_model_is_refused(state, tmp_path, other):
    Checkpoints(tmp_path, state, keep=2).save(step=1, seconds=0.0)
    if other.get("tokens"):
        other = {**other, "critics": False}
    with pytest.raises(InputError, match=f"{tmp_path}/ckpt-1"):
        Checkpoints(tmp_path, full_state(seed=0, **other), keep=2).restore()


# Saving fails


def test_a_failed_save_is_the_machines_fault_and_leaves_the_one_before(
    state, tmp_path, monkeypatch
):
    checkpoints = Checkpoints(tmp_path, scramble(state, 1), keep=1)
    checkpoints.save(step=1, seconds=0.0)
    expected = values(variables_of(state))

    def fail(*, checkpoint_number):
        (tmp_path / f"ckpt-{checkpoint_number}.data-00000-of-00001").write_text("half")
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device\nnode 7")

    scramble(state, 2)
    monkeypatch.setattr(checkpoints._manager, "save", fail)
    with pytest.raises(MachineError, match=f"step 2 .* {tmp_path}: No space left.*ckpt-1") as info:
        checkpoints.save(step=2, seconds=1.0)
    assert "node 7" not in str(info.value)
    assert not list(tmp_path.glob("ckpt-2*")), "half a checkpoint takes room"
    assert checkpoints.restore() == 1
    assert_equal(state, expected)


def test_a_save_that_fails_for_want_of_a_worker_blames_no_disk(state, tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, scramble(state, 1), keep=1)

    def fail(*, checkpoint_number):
        (tmp_path / f"ckpt-{checkpoint_number}.index").write_text("half")
        raise tf.errors.AbortedError(None, None, "Collective ops is aborted")

    monkeypatch.setattr(checkpoints._manager, "save", fail)
    monkeypatch.setattr("std_keras.training.checkpoints.in_cluster", lambda strategy: True)
    with pytest.raises(tf.errors.AbortedError):
        checkpoints.save(step=2, seconds=1.0)
    assert not list(tmp_path.glob("ckpt-2*"))


def check_full_disk(state, folder, fill, release):
    checkpoints = Checkpoints(folder, scramble(state, 1), keep=1)
    checkpoints.save(step=1, seconds=0.0)
    expected = values(variables_of(state))
    scramble(state, 2)
    fill()
    try:
        with pytest.raises(MachineError, match="step 2 could not be written.*ckpt-1"):
            checkpoints.save(step=2, seconds=0.0)
    finally:
        release()
    assert not list(folder.glob("ckpt-2*"))
    assert Checkpoints(folder, state, keep=1).restore() == 1
    assert_equal(state, expected)
    scramble(state, 3)
    checkpoints.save(step=2, seconds=0.0)
    assert newest_checkpoint(folder) == str(folder / "ckpt-2")


def test_a_file_that_may_not_grow(state, tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    check_full_disk(
        state,
        tmp_path,
        fill=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard)),
        release=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)),
    )


def test_a_full_disk(state, tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small disk")
    filler = folder / "filler"

    def fill():
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass

    try:
        check_full_disk(state, folder, fill=fill, release=filler.unlink)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_the_same_step_is_not_written_twice(state, tmp_path, monkeypatch):
    """Writing over the newest checkpoint could lose it."""
    checkpoints = Checkpoints(tmp_path, state, keep=2)
    checkpoints.save(step=1, seconds=0.0)
    again = Checkpoints(tmp_path, state, keep=2)
    again.restore()
    for each in (checkpoints, again):
        monkeypatch.setattr(each._manager, "save", lambda **_: pytest.fail("written again"))
        each.save(step=1, seconds=0.0)


# Only the weights


def test_restore_weights_gives_raw_and_averaged_weights(state, tmp_path):
    Checkpoints(tmp_path, scramble(state, 4), keep=2).save(step=7, seconds=0.0)
    raw = values(state.model.variables)
    with state.average.in_place():
        averaged = values(state.model.variables)
    other = full_state(seed=5)
    assert restore_weights(tmp_path, model=other.model, average=other.average) == 7
    for own, expected in zip(values(other.model.variables), raw, strict=True):
        np.testing.assert_array_equal(own, expected)
    alone = full_state(seed=6, ema=0.0)
    assert restore_weights(tmp_path, model=alone.model, average=None) == 7
    for own, expected in zip(values(alone.model.variables), raw, strict=True):
        np.testing.assert_array_equal(own, expected)
    other.average.copy_to_model()
    for own, expected in zip(values(other.model.variables), averaged, strict=True):
        np.testing.assert_array_equal(own, expected)


def test_restore_weights_of_nothing_or_of_another_model(state, tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path} holds no checkpoint"):
        restore_weights(tmp_path, model=state.model, average=None)
    Checkpoints(tmp_path, state, keep=2).save(step=7, seconds=0.0)
    with pytest.raises(InputError, match=f"can be read.*{tmp_path}/ckpt-7"):
        restore_weights(tmp_path, model=student(width=8), average=None)
