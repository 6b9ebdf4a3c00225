"""Loads TensorFlow without its start-up noise.

TensorFlow's C++ libraries write to file descriptor 2 while they are loaded, before any log level is
read, so an environment variable alone does not silence them.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence

from absl import logging as absl_logging

from std_keras import graph_optimizer, kernels, progress, xla_cache


@contextlib.contextmanager
def muted_stderr() -> Iterator[None]:
    """Holds back what is written to standard error; shows it if the block raises.

    Our own log lines, such as the answer to a signal, are shown at once.
    """
    if sys.stderr is None:  # Closed: there is nothing to mute.
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with (
        tempfile.TemporaryFile() as noise,
        # Closes `kept` in the end: a line that comes too late finds no file, and no other one.
        open(kept, "w", encoding="utf-8", errors="backslashreplace") as shown,
    ):
        os.dup2(noise.fileno(), 2)
        try:
            # A notebook's standard error is another one, which stays as it is.
            with progress.shown_on(shown) if _is_muted() else contextlib.nullcontext():
                yield
        except BaseException:
            os.dup2(kept, 2)
            noise.seek(0)
            with contextlib.suppress(OSError):
                os.write(2, noise.read())
            raise
        finally:
            os.dup2(kept, 2)


def _is_muted() -> bool:
    """Whether Python's standard error is the descriptor that was turned away."""
    try:
        return sys.stderr is not None and sys.stderr.fileno() == 2
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """For a start, which makes hundreds of thousands of objects and drops few of them.

    To look through all for those that nobody needs, again and again while more are made, was a
    quarter of the processor time of the imports.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _kept() -> Iterator[None]:
    """For imports at the start of a program: what they make stays to its end, so no later search
    for garbage looks at it."""
    try:
        yield
    finally:
        gc.freeze()


# Keras and TensorFlow import these where they are installed, for scikit-learn's estimators, data
# frames, sparse arrays, galleries and notebooks, and go on without. No program uses any of it.
_UNUSED = ("IPython", "matplotlib", "pandas", "scipy", "sklearn")


@contextlib.contextmanager
def _as_if_missing(packages: Sequence[str]) -> Iterator[None]:
    """Whoever imports them in the block is told that they are not installed; after it, they are.

    They were a quarter of the processor time of these imports.
    """
    hidden = [name for name in packages if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment] # So `import` takes it for missing.
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def ensure_tensorflow() -> None:
    """`load_tensorflow`, unless TensorFlow is loaded already; its settings are then kept."""
    if "tensorflow" not in sys.modules:
        _load()


def load_tensorflow() -> None:
    """Imports TensorFlow and Keras silently, with the kernels that `std_keras.kernels` chooses, and
    the work on graphs that `std_keras.graph_optimizer` does.

    For programs: call it before anything else imports them. What is there then is kept.
    """
    with without_garbage_collection(), _kept(), _as_if_missing(_UNUSED):
        _load()


def _load() -> None:
    kernels.choose()
    xla_cache.choose()
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # C++ logs as errors what none are (oneDNN, that it leaves integers to TensorFlow; CUDA, that it
    # was registered before). What is one raises an exception, which says it too.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with muted_stderr():
        import keras  # noqa: F401
        import tensorflow as tf

        # The devices are listed here because the first listing is noisy too. Nothing is
        # initialised by it, so logical devices can still be configured.
        tf.config.list_physical_devices()
    graph_optimizer.choose()
    tf.get_logger().setLevel(logging.ERROR)
    absl_logging.set_verbosity(absl_logging.ERROR)
