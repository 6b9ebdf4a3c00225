"""Which devices do the work."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator

import tensorflow as tf
from tensorflow.python.eager import context

from std_keras import kernels, progress
from std_keras.data import Shard
from std_keras.errors import InputError, Interrupted, MachineError, reason_of
from std_keras.training import cluster, rendezvous
from std_keras.training.cluster import Cluster

_CONNECT_SECONDS = 60.0  # All have answered a moment ago.

# The cluster that this process is in, once it is: TensorFlow's server holds the address until the
# process ends, and a second strategy would meet the first one's operations (see `_mirrored`).
_joined: list[tuple[Cluster, tf.distribute.Strategy]] = []


def create_strategy(
    name: str,
    *,
    logical_cpus: int = 0,
    cluster_wait_seconds: float = 0.0,
    stop: Callable[[], bool] = lambda: False,
) -> tf.distribute.Strategy:
    """Makes the distribution strategy.

    Args:
        name: auto, one_device, mirrored, multi_worker or tpu. auto takes a TPU if one is
            configured, the cluster of TF_CONFIG if that is set, all GPUs if there are several,
            else one device.
        logical_cpus: split the CPU into that many devices first.
        cluster_wait_seconds: how long to wait for the others of a cluster; 0 for as long as it
            takes.
        stop: once true, that waiting ends.

    Raises:
        InputError: if the devices that the name needs are not there, or `TF_CONFIG` describes no
            cluster.
        MachineError: if the others of the cluster did not come in time, or this process's port is
            taken.
        Interrupted: because of `stop`.
    """
    if logical_cpus > 1:
        try:
            tf.config.set_logical_device_configuration(
                tf.config.list_physical_devices("CPU")[0],
                [tf.config.LogicalDeviceConfiguration() for _ in range(logical_cpus)],
            )
        except RuntimeError as error:
            raise InputError(
                f"logical_cpus={logical_cpus} must be set before TensorFlow starts: "
                f"{reason_of(error)}"
            ) from error
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        # TensorFlow would take all memory of the GPU, also where a teacher's process needs some.
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # Already started: then the choice was made elsewhere.
            break
    if name == "auto":
        name = _best_available(gpus=len(gpus), logical_cpus=logical_cpus)
    if name == "multi_worker":
        strategy = _join_cluster(wait_seconds=cluster_wait_seconds, stop=stop)
    else:
        strategy = _create(name, gpus=len(gpus), logical_cpus=logical_cpus)
    progress.say(
        f"strategy {name}: {strategy.num_replicas_in_sync} replica(s) on "
        + ("GPU" if gpus else "TPU" if name == "tpu" else f"CPU, {kernels.in_words()}")
    )
    return strategy


def _best_available(*, gpus: int, logical_cpus: int) -> str:
    if os.environ.get("TPU_NAME") or os.environ.get("TPU_WORKER_ID"):
        return "tpu"
    if os.environ.get("TF_CONFIG"):
        return "multi_worker"
    return "mirrored" if gpus > 1 or logical_cpus > 1 else "one_device"


def _create(name: str, *, gpus: int, logical_cpus: int) -> tf.distribute.Strategy:
    if name == "one_device":
        return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0")
    if name == "mirrored":
        if gpus:
            return _mirrored()
        if logical_cpus < 2:
            raise InputError(
                "strategy=mirrored needs GPUs and there are none; use strategy=one_device, or "
                "logical_cpus=2 to try it on the CPU"
            )
        return _mirrored(*(f"CPU:{i}" for i in range(logical_cpus)))
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, KeyError, tf.errors.OpError) as error:
        raise InputError(f"strategy=tpu found no TPU: {reason_of(error)}") from error


@functools.cache
def _mirrored(*devices: str) -> tf.distribute.Strategy:
    """One for the life of the process, for any number of runs.

    Every strategy numbers its collective operations from the same number on, and TensorFlow keeps
    the shape that it saw under a number: the first sum of a second strategy would be refused for
    not having the shape of the first strategy's.
    """
    return tf.distribute.MirroredStrategy(devices or None)


def watched_cluster(name: str) -> Cluster | None:
    """The cluster that this process is to evaluate beside: if it is the cluster's evaluator.

    Args:
        name: the strategy asked for; only auto and multi_worker take part in a cluster.

    Raises:
        InputError: if `TF_CONFIG` describes no cluster.
    """
    if name == "auto":
        name = _best_available(gpus=0, logical_cpus=0)
    if name != "multi_worker" or not os.environ.get("TF_CONFIG"):
        return None
    found = cluster.parse(os.environ["TF_CONFIG"])
    return found if found.evaluates else None


def _join_cluster(*, wait_seconds: float, stop: Callable[[], bool]) -> tf.distribute.Strategy:
    if not os.environ.get("TF_CONFIG"):
        raise InputError(
            "strategy=multi_worker needs the cluster in the environment variable TF_CONFIG, "
            "which is not set"
        )
    described = cluster.parse(os.environ["TF_CONFIG"])
    if described.evaluates:
        raise InputError("TF_CONFIG makes this process an evaluator, which only training has")
    for joined, strategy in _joined:
        if joined == described:
            return strategy
        raise InputError(
            "TF_CONFIG names another cluster than the one that this process has joined; a process "
            "can be in one only, so start a new one"
        )
    rendezvous.wait_for_all(described, stop=stop, wait_seconds=wait_seconds)
    limit = min(_CONNECT_SECONDS, wait_seconds or _CONNECT_SECONDS)
    _limit_connecting(described, seconds=limit)
    if described.others():
        progress.say(f"all processes of the cluster answer; connecting, for {limit:g} s at most")
    try:
        with own_signal_handlers(), _signals_end_the_process(stop):
            strategy = tf.distribute.MultiWorkerMirroredStrategy(_Resolver(described))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"TF_CONFIG does not describe a cluster: {reason_of(error)}") from error
    except tf.errors.DeadlineExceededError as error:
        raise MachineError(
            f"not all processes of the cluster connected within {limit:g} s, though all had "
            "answered; one has ended, and says why; start all of them again"
        ) from error
    except tf.errors.OpError as error:
        raise MachineError(
            f"the cluster of TF_CONFIG could not be formed: {reason_of(error)}; start all its "
            "processes again"
        ) from error
    _joined.append((described, strategy))
    return strategy


def _limit_connecting(described: Cluster, *, seconds: float) -> None:
    """How long TensorFlow waits for the others, which have answered but may have ended since.

    Else it waits for an hour. `MultiWorkerMirroredStrategy` keeps a service that is described
    already.
    """
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader=f"/job:{next(iter(described.jobs))}/replica:0/task:0",
        cluster_register_timeout_in_ms=round(seconds * 1000),
    )
    service = context.context().coordination_service
    for job, addresses in described.jobs.items():
        service.coordinated_job_list.add(name=job, num_tasks=len(addresses))
    # Else the first one waits later, where there is no limit.
    service.cluster_register_with_barrier = True


@contextlib.contextmanager
def _signals_end_the_process(stop: Callable[[], bool]) -> Iterator[None]:
    """For a block in which TensorFlow holds Python's lock, so that no handler runs.

    It takes SIGTERM for itself in that block; Ctrl-C is left.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
    if stop():  # One came before.
        raise Interrupted("interrupted before the cluster was formed; run the same command again")
    yield


class _Resolver(tf.distribute.cluster_resolver.TFConfigClusterResolver):
    """Gives TensorFlow those of the cluster that train, without an evaluator."""

    def __init__(self, described: Cluster) -> None:
        super().__init__(task_type=described.task_type, task_id=described.task_index)
        self._described = described

    def cluster_spec(self) -> tf.train.ClusterSpec:
        return tf.train.ClusterSpec({job: list(a) for job, a in self._described.jobs.items()})


@contextlib.contextmanager
def own_signal_handlers() -> Iterator[None]:
    """Gives this process its handlers back after the block.

    TensorFlow's cluster service takes SIGTERM for itself when it starts, which is with the first
    variable; a worker that is asked to stop would never hear of it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            if handler is not None:
                signal.signal(number, handler)


def own_shard(strategy: tf.distribute.Strategy) -> Shard:
    """This process's replicas among all replicas."""
    replicas = strategy.num_replicas_in_sync
    if not in_cluster(strategy):
        return Shard(local_replicas=replicas, replicas=replicas)
    jobs = strategy.cluster_resolver.cluster_spec().as_dict()
    workers = len(jobs.get("chief", ())) + len(jobs.get("worker", ()))
    local = replicas // workers
    return Shard(
        first_replica=_worker_index(strategy) * local, local_replicas=local, replicas=replicas
    )


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the run directory; all others of a cluster only compute."""
    return not in_cluster(strategy) or _worker_index(strategy) == 0


def in_cluster(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is one of several that train together."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and bool(
        os.environ.get("TF_CONFIG")
    )


def _worker_index(strategy: tf.distribute.Strategy) -> int:
    """A chief, if there is one, comes before the workers."""
    resolver = strategy.cluster_resolver
    if resolver.task_type == "chief":
        return 0
    return int(resolver.task_id) + (1 if "chief" in resolver.cluster_spec().jobs else 0)


def lost_worker_errors() -> tuple[type[tf.errors.OpError], ...]:
    """What the collective operations of the others raise when a worker has gone."""
    return (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
        tf.errors.InternalError,
    )
