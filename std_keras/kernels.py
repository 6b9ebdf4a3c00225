"""Which kernels TensorFlow computes with on a CPU: oneDNN's, or its own."""

from __future__ import annotations

import os
import platform

CHOICE = "TF_ENABLE_ONEDNN_OPTS"


def choose() -> None:
    """Chooses oneDNN's kernels on x86, unless the user chose; call it before TensorFlow is loaded.

    TensorFlow takes them by itself only where it sees AVX-512 VNNI, AVX-512 bf16 or AMX. Without
    these (a 2-core AMD EPYC with AVX2) a training step took 9.2 s with them and 14.4 s without.
    There is no exception: no training step, evaluation or teacher was more than 3 % slower, with
    AVX-512 or as if there were AVX2 alone. Single images in TensorFlow are, which no program
    computes (the page on speed has the table).
    """
    if platform.machine().lower() in ("x86_64", "amd64"):
        os.environ.setdefault(CHOICE, "1")


def in_words() -> str:
    """Which ones run in this process, for the log: "oneDNN kernels" or "TensorFlow's own kernels".

    Loads TensorFlow.
    """
    # There is no public way to ask, and the variable says nothing if it was set too late.
    from tensorflow.python.util import _pywrap_util_port

    return "oneDNN kernels" if _pywrap_util_port.IsMklEnabled() else "TensorFlow's own kernels"
