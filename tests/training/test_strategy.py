"""Which strategies are refused here, and why. See test_replicas.py for those that run."""

from __future__ import annotations

import pytest
import tensorflow as tf

from std_keras.errors import InputError
from std_keras.training import strategy

needs_no_gpu = pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="a GPU changes what can run"
)


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in ("TF_CONFIG", "TPU_NAME", "TPU_WORKER_ID"):
        monkeypatch.delenv(name, raising=False)


@needs_no_gpu
@pytest.mark.parametrize("name", ["auto", "one_device"])
def test_one_device(name):
    made = strategy.create_strategy(name)
    assert isinstance(made, tf.distribute.OneDeviceStrategy)
    assert made.num_replicas_in_sync == 1
    assert strategy.is_chief(made)
    shard = strategy.own_shard(made)
    assert (shard.first_replica, shard.local_replicas, shard.replicas) == (0, 1, 1)


@needs_no_gpu
def test_mirrored_needs_devices():
    with pytest.raises(InputError, match=r"strategy=mirrored.*logical_cpus=2"):
        strategy.create_strategy("mirrored")


@needs_no_gpu
def test_logical_cpus_come_too_late_once_tensorflow_has_started():
    tf.constant(1.0)
    with pytest.raises(InputError, match="logical_cpus=2 must be set before"):
        strategy.create_strategy("mirrored", logical_cpus=2)


def test_multi_worker_needs_a_cluster():
    with pytest.raises(InputError, match=r"strategy=multi_worker.*TF_CONFIG"):
        strategy.create_strategy("multi_worker")


def test_tpu_needs_a_tpu():
    with pytest.raises(InputError, match="strategy=tpu found no TPU"):
        strategy.create_strategy("tpu")


@pytest.mark.parametrize("value", ["nonsense", "{}", '{"cluster": 3}'])
def test_a_cluster_that_is_none(monkeypatch, value):
    monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(InputError, match="TF_CONFIG"):
        strategy.create_strategy("multi_worker")
