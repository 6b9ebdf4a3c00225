"""A process that has loaded TensorFlow, and forks into those that a test asks for.

Run as `python -m tests.forking DESCRIPTOR`, of a socket; `processes.py` beside it is the other end.
Nothing of TensorFlow runs here, it is only there: what has run does not survive a fork.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

# What a program imports after its flags are read, and for the digits.
import sklearn.datasets
import sklearn.model_selection  # noqa: F401

from std_keras import models, quiet, training  # noqa: F401

Request = dict[str, Any]


def serve(connection: socket.socket) -> Request | None:
    """Forks at every request. Returns it in the new process, and None here, when the tests end."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        reap()
        if not message:
            return None
        if not fork():
            connection.close()
            return keep(json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def keep(request: Request, out: int, error: int, status: int) -> Request:
    """Forks once more: this process says how the other ends, in which alone the call returns."""
    process = fork()
    if not process:
        os.close(status)
        for descriptor, target in ((out, 1), (error, 2)):
            os.dup2(descriptor, target)
            os.close(descriptor)
        return request
    os.close(out)
    os.close(error)
    os.write(status, process.to_bytes(4, "little"))
    os.write(status, os.waitpid(process, 0)[1].to_bytes(4, "little"))
    os._exit(0)


def fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python does not like the threads of others, which wait.
        return os.fork()


def in_fork(check: Callable[[], bool]) -> bool:
    """Whether a check holds in a process that is forked from this one."""
    process = fork()
    if not process:
        holds = False
        try:
            holds = check()
        finally:
            os._exit(not holds)
    return os.waitpid(process, 0)[1] == 0


def reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def run(request: Request) -> None:
    """What `python ARGUMENTS` does, to the end of the interpreter."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    kind, *sys.argv = request["arguments"]
    if kind == "-m":
        sys.path[0] = request["cwd"]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.path[0] = ""
        code, sys.argv[0] = sys.argv[0], "-c"
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv.insert(0, kind)
        runpy.run_path(kind, run_name="__main__")


def main() -> NoReturn:
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, and they end this.
    gc.freeze()
    request = serve(connection)
    if request is not None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run(request)
    sys.exit()


if __name__ == "__main__":
    main()
