"""Processes in which a test runs a program or a script, without waiting for TensorFlow.

To load it takes a core 5 s, which most tests of a process are not about: they are about signals,
exit codes, devices, clusters, what is left on disk. So one process loads it, and each of theirs is
forked from that one (`forking.py`). It is one like any other: with a main thread, signals,
environment, folder and descriptors of its own, and an end that goes through Python's. A test of
the start itself takes `subprocess`.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Process:
    """What a test needs of `subprocess.Popen`, of which it has the names; its output is text."""

    def __init__(self, arguments: list[str], *, cwd: Path, env: Mapping[str, str]) -> None:
        pipes = [os.pipe() for _ in range(3)]
        request = {"arguments": arguments, "cwd": str(cwd), "env": dict(env)}
        ends = [writing for _, writing in pipes]
        socket.send_fds(_server(), [json.dumps(request).encode()], ends)
        for end in ends:
            os.close(end)
        self.stdout, self.stderr = (open(reading, encoding="utf-8") for reading, _ in pipes[:2])
        self._status = open(pipes[2][0], "rb", buffering=0)
        self.pid = self._number()
        self.returncode: int | None = None

    def _number(self) -> int:
        """The next that is said of it: who it is, and how it ended."""
        if len(number := self._status.read(4)) < 4:
            raise RuntimeError("tests/forking.py does not run; try `python -m tests.forking 0`")
        return int.from_bytes(number, "little")

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            self.returncode = os.waitstatus_to_exitcode(self._number())
            self._status.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it writes until it ends, to standard output and to standard error."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with ThreadPoolExecutor(2) as pool:
            texts = [pool.submit(stream.read) for stream in (self.stdout, self.stderr)]
            try:
                said = [text.result(deadline and deadline - time.monotonic()) for text in texts]
                self.wait(deadline and deadline - time.monotonic())
            except TimeoutError:
                self.kill()
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
        self.close()
        return said[0], said[1]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Hears no more of what it says."""
        self.stdout.close()
        self.stderr.close()


def start(*arguments: str | Path, cwd: Path = ROOT, env: Mapping[str, str] = os.environ) -> Process:
    """A process that does what `python ARGUMENTS` does: -m MODULE, -c CODE or FILE, and theirs.

    TensorFlow is there as the tests have it: `env` may not differ in what it reads when loaded.
    """
    return Process([str(a) for a in arguments], cwd=cwd, env={**env, "PYTHONPATH": str(ROOT)})


def run(
    *arguments: str | Path,
    cwd: Path = ROOT,
    env: Mapping[str, str] = os.environ,
    timeout: float = 600,
) -> subprocess.CompletedProcess[str]:
    """What such a process says until its end."""
    process = start(*arguments, cwd=cwd, env=env)
    out, error = process.communicate(timeout)
    assert process.returncode is not None
    return subprocess.CompletedProcess([*arguments], process.returncode, out, error)


@functools.cache
def _server() -> socket.socket:
    """The connection to the process that forks; it ends with this one."""
    own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with other:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.forking", str(other.fileno())],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # As those of its forks: Python asks once what they are.
            stderr=subprocess.STDOUT,
            pass_fds=[other.fileno()],
        )

    def end() -> None:
        own.close()
        server.wait()

    atexit.register(end)
    return own
