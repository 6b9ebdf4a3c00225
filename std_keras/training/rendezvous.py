"""Waiting for the other processes of a cluster, heard and with an end.

TensorFlow waits too when it connects, but for an hour, without a word, and with Python's lock held,
so that no signal is heard. So everybody is waited for before: each process listens at its own
address, and looks whether the others do. The kernel answers for it; once one has seen all others,
TensorFlow's server takes over the address and answers those that are still looking.
"""

from __future__ import annotations

import contextlib
import errno
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from std_keras import progress
from std_keras.errors import Interrupted, MachineError
from std_keras.training.cluster import Cluster

_SHOWN = 4  # Names in a line; a cluster may have hundreds.


def wait_for_all(
    cluster: Cluster,
    *,
    stop: Callable[[], bool],
    wait_seconds: float,
    say_every: float = 20.0,
) -> None:
    """Returns once every other process that trains has answered at its address.

    Args:
        cluster: all processes, and which is this one.
        stop: once true, the waiting ends.
        wait_seconds: how long to wait; 0 for as long as it takes.
        say_every: seconds between lines that say for whom it waits.

    Raises:
        MachineError: if the others did not come in time, or this process's port is taken.
        Interrupted: because of `stop`.
    """
    began = time.monotonic()
    line_at, limit = say_every, wait_seconds or math.inf
    others = cluster.others()
    with _listening(cluster.address, backlog=4 * len(others) + 16), _Silent(others) as silent:
        while not silent.nobody.wait(0.1):
            waited = time.monotonic() - began
            if stop():
                raise Interrupted(
                    f"interrupted while waiting for {silent.described()}; nothing was begun; run "
                    "the same command again"
                )
            if waited >= limit:
                raise MachineError(
                    f"waited {waited:.0f} s for {silent.described()} "
                    f"(cluster_wait_seconds={wait_seconds:g}); nothing was begun; start all "
                    "processes of the cluster, with addresses that reach them"
                )
            if waited >= line_at:
                progress.say(f"waiting for {silent.described()}, {waited:.0f} s so far")
                line_at += say_every


@contextlib.contextmanager
def _listening(address: str, *, backlog: int) -> Iterator[None]:
    """Answers at this process's address; nothing is accepted, the kernel's answer is enough."""
    port = int(address.rpartition(":")[2])
    both = socket.has_dualstack_ipv6()
    try:
        server = socket.create_server(
            ("", port),
            family=socket.AF_INET6 if both else socket.AF_INET,
            dualstack_ipv6=both,
            backlog=backlog,
        )
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        raise MachineError(
            f"port {port} of {address}, this process's address in TF_CONFIG, "
            + (
                "is in use by another process; end it, or give this one another address"
                if in_use
                else f"cannot be listened on: {error.strerror}"
            )
        ) from error
    with server:
        yield


class _Silent:
    """Which of the others have not answered yet.

    It looks in a daemon thread, because to look up a name can take as long as it likes.
    """

    def __init__(self, others: Mapping[str, str]) -> None:
        self.nobody = threading.Event()
        self._left = dict(others)
        self._over = threading.Event()

    def __enter__(self) -> _Silent:
        threading.Thread(target=self._watch, name="who answers", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def described(self) -> str:
        """For whom the cluster waits, in words."""
        left = [f"{name} ({address})" for name, address in list(self._left.items())]
        more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        return ", ".join(left[:_SHOWN]) + more

    def _watch(self) -> None:
        while not self._over.is_set():
            for name, address in list(self._left.items()):
                if self._over.is_set():
                    return
                if _listens(address):
                    del self._left[name]
            if not self._left:
                self.nobody.set()
                return
            self._over.wait(0.5)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
            return True
    except (OSError, UnicodeError):  # The second for a name that no host can have.
        return False
