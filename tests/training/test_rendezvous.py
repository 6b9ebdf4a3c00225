"""A process of a cluster that waits says so, can be stopped, and gives up."""

from __future__ import annotations

import logging
import socket
import threading

import pytest

from std_keras.errors import Interrupted, MachineError
from std_keras.training import rendezvous
from std_keras.training.cluster import Cluster
from tests.test_cluster import free_ports


@pytest.fixture
def addresses():
    return tuple(f"localhost:{port}" for port in free_ports(6))


@pytest.fixture
def listener(addresses):
    """Somebody at the second address."""
    with socket.create_server(("localhost", port_of(addresses[1]))) as server:
        yield server


def port_of(address):
    return int(address.rpartition(":")[2])


def cluster_of(addresses):
    return Cluster(jobs={"worker": addresses}, task_type="worker", task_index=0)


def wait(addresses, *, stop=lambda: False, wait_seconds=0.0, say_every=600.0):
    rendezvous.wait_for_all(
        cluster_of(addresses), stop=stop, wait_seconds=wait_seconds, say_every=say_every
    )


def test_nobody_is_waited_for_alone(addresses):
    wait(addresses[:1])


def test_returns_once_all_answer(addresses, listener):
    wait(addresses[:2])


def test_all_find_each_other(addresses):
    """Also the one that is still looking when another one has left to connect."""
    failed = []

    def take_part(index):
        described = Cluster(jobs={"worker": addresses}, task_type="worker", task_index=index)
        try:
            rendezvous.wait_for_all(described, stop=over.is_set, wait_seconds=0.0)
            # As TensorFlow's server does.
            server = socket.create_server(("", port_of(addresses[index])))
            found.wait(timeout=200)
            server.close()
        except Exception as error:
            failed.append(error)
            over.set()
            found.abort()

    over = threading.Event()
    found = threading.Barrier(len(addresses))
    threads = [threading.Thread(target=take_part, args=(i,)) for i in range(len(addresses))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_gives_up_and_names_who_did_not_come(addresses):
    with pytest.raises(MachineError) as caught:
        wait(addresses[:2], wait_seconds=0.1)
    assert f"worker 1 ({addresses[1]})" in str(caught.value)
    assert "cluster_wait_seconds=0.1" in str(caught.value)


def test_stops_when_asked(addresses):
    with pytest.raises(Interrupted, match="nothing was begun"):
        wait(addresses, stop=lambda: True)


def test_says_for_whom_it_waits_until_they_answer(addresses, listener, caplog):
    caplog.set_level(logging.INFO, "std_keras")
    seen = []

    def stop():
        """Once two lines about the last one alone were said."""
        seen[:] = [line for line in caplog.messages if addresses[1] not in line]
        return len(seen) >= 2

    with pytest.raises(Interrupted):
        wait(addresses[:3], stop=stop, say_every=0.05)
    assert all(line.startswith(f"waiting for worker 2 ({addresses[2]}), ") for line in seen)


def test_a_large_cluster_fits_in_a_line(addresses):
    with pytest.raises(MachineError, match=r"worker 4 \([^)]*\) and 1 more \("):
        wait(addresses, wait_seconds=0.1)


def test_a_host_that_does_not_exist_does_not_answer(addresses):
    assert not rendezvous._listens("does-not-exist.invalid:2222")
    assert not rendezvous._listens("a..b:2222")
    assert not rendezvous._listens("[::1:2222")


@pytest.mark.parametrize("host", ["", "localhost"])
def test_a_port_in_use(addresses, host):
    port = port_of(addresses[0])
    with socket.create_server((host, port)), pytest.raises(MachineError) as caught:
        wait(addresses)
    assert f"port {port} of {addresses[0]}" in str(caught.value)
    assert "is in use" in str(caught.value)
    wait(addresses[:1])
