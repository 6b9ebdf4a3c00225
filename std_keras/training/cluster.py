"""The cluster that `TF_CONFIG` describes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from std_keras.errors import InputError

_TRAINING = ("chief", "worker")
_KNOWN = (*_TRAINING, "evaluator")
_SHAPE = 'write {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": N}}'


@dataclass(frozen=True)
class Cluster:
    """Which processes train together, and which of them this one is.

    Attributes:
        jobs: the addresses (HOST:PORT) of those that train, by job: a chief if there is one, then
            the workers.
        task_type: `chief`, `worker` or `evaluator`.
        task_index: this process's number within its job.
    """

    jobs: dict[str, tuple[str, ...]]
    task_type: str
    task_index: int

    @property
    def evaluates(self) -> bool:
        """Whether this process watches the others instead of training with them."""
        return self.task_type == "evaluator"

    @property
    def address(self) -> str:
        """This process's own; only of one that trains."""
        return self.jobs[self.task_type][self.task_index]

    def others(self) -> dict[str, str]:
        """The addresses of all other processes that train, by name (`worker 1`)."""
        return {
            f"{job} {index}": address
            for job, addresses in self.jobs.items()
            for index, address in enumerate(addresses)
            if (job, index) != (self.task_type, self.task_index)
        }


def parse(text: str) -> Cluster:
    """Reads the value of `TF_CONFIG`.

    Keys beside `cluster` and `task`, which operators of clusters add, are ignored. An evaluator
    may be listed in the cluster (Vertex AI) or not (Kubeflow).

    Raises:
        InputError: if it does not describe a cluster of which this process is one, or one with
            parameter servers, which training here does not have.
    """
    try:
        whole = json.loads(  # The mark is of an editor, by way of a file.
            text.removeprefix("\ufeff"), object_pairs_hook=_each_once
        )
    except (json.JSONDecodeError, RecursionError) as error:
        raise _refusal(f"it is not valid JSON ({error}); {_SHAPE}") from error
    if not isinstance(whole, dict):
        raise _refusal(f"it is not a JSON object; {_SHAPE}")
    cluster, task = whole.get("cluster"), whole.get("task")
    if not isinstance(cluster, dict):
        raise _refusal(f"its cluster, {_shown(cluster)}, is not an object of jobs; {_SHAPE}")
    if whole.get("rpc_layer") not in (None, "", "grpc"):
        raise _refusal(
            f"its rpc_layer is {_shown(whole['rpc_layer'])}, and TensorFlow has grpc only"
        )
    jobs = {str(job): _addresses(str(job), listed) for job, listed in cluster.items()}
    trained = {job: jobs[job] for job in _TRAINING if jobs.get(job)}
    if not trained:
        raise _refusal(f"it names no workers; {_SHAPE}")
    if len(trained.get("chief", ())) > 1:
        raise _refusal(f"it names {len(trained['chief'])} chiefs, and there can be one")
    everybody = [address for addresses in jobs.values() for address in addresses]
    twice = sorted({address for address in everybody if everybody.count(address) > 1})
    if twice:
        raise _refusal(f"{twice[0]} stands in it more than once; every process needs its own")
    task_type, index = _task(task)
    if task_type != "evaluator" and index >= len(trained.get(task_type, ())):
        raise _refusal(
            f"its task is {task_type} {index}, and the cluster has "
            f"{len(trained.get(task_type, ()))} of that type, counted from 0"
        )
    return Cluster(jobs=trained, task_type=task_type, task_index=index)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, whose keys JSON itself allows to come twice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _refusal(f"its key {_shown(key)} stands twice in one object")
        found[key] = value
    return found


def _addresses(job: str, listed: Any) -> tuple[str, ...]:
    _check_type(job)
    if not isinstance(listed, list):
        raise _refusal(
            f'its {job} is {_shown(listed)}, not a list of addresses like ["10.0.0.1:2222"]'
        )
    for address in listed:
        wrong = _what_is_wrong(address)
        if wrong:
            raise _refusal(
                f"the address {_shown(address)} of its {job} {wrong}; write HOST:PORT, for example "
                "10.0.0.1:2222"
            )
    return tuple(listed)


def _what_is_wrong(address: Any) -> str | None:
    if not isinstance(address, str):
        return "is not text"
    if "://" in address:
        return "is a URL"
    host, colon, port = address.rpartition(":")
    if not colon or (address.startswith("[") and address.endswith("]")):
        return "has no port"
    if not host:
        return "has no host"
    bracketed = host.startswith("[") and host.endswith("]")
    if ":" in host and not bracketed:
        return "has more than one colon (an IPv6 host stands in brackets)"
    if any(character.isspace() or character in "/,@" for character in address):
        return "is not one host and one port"
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        return f"has the port {port!r}, which is not a number from 1 to 65535"
    return None


def _task(task: Any) -> tuple[str, int]:
    if not isinstance(task, dict) or "type" not in task:
        raise _refusal(f"its task, {_shown(task)}, does not say which process this is; {_SHAPE}")
    task_type, index = task["type"], task.get("index", 0)
    if not isinstance(task_type, str):
        raise _refusal(f"its task's type, {_shown(task_type)}, is not text; {_SHAPE}")
    _check_type(task_type)
    # Templates fill in numbers as text.
    if isinstance(index, str) and index.isascii() and index.isdigit():
        index = int(index)
    if isinstance(index, bool) or not isinstance(index, int) or index < 0:
        raise _refusal(f"its task's index, {_shown(index)}, is not a number from 0 on")
    return task_type, index


def _check_type(job: str) -> None:
    if job == "ps":
        raise _refusal(
            "it has parameter servers (ps), and training here has none: all workers hold the same "
            "weights; leave ps out"
        )
    if job not in _KNOWN:
        raise _refusal(f"it has the task type {job!r}, which is none of {', '.join(_KNOWN)}")


def _shown(value: Any) -> str:
    return json.dumps(value)[:80]


def _refusal(what: str) -> InputError:
    return InputError(f"TF_CONFIG does not describe a cluster: {what}")
