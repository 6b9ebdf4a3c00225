"""How long a TFLite file takes to its first answer, in a process that has never run one.

Run as a program it reads a file from standard input and prints milliseconds; it needs NumPy and
LiteRT alone.
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

_LONGEST = 120.0  # Seconds; a process takes 0.2.


def cold_start_ms(content: bytes, *, processes: int = 3) -> float | None:
    """From a file in memory to its first answer on one thread, in milliseconds.

    Making the interpreter, preparing the kernels and one inference count; loading the runtime does
    not. Each try has a process of its own, because a second file in the same one finds memory and
    kernels prepared.

    Args:
        content: the file.
        processes: how many tries; the median counts.

    Returns:
        None if no other process can be started here.
    """
    if not sys.executable:
        return None
    tries = []
    for _ in range(processes):
        try:
            done = subprocess.run(
                # -P: the files beside this one are not to be taken for modules of their names.
                [sys.executable, "-P", __file__],
                input=content,
                capture_output=True,
                timeout=_LONGEST,
                check=True,
            )
            tries.append(float(done.stdout))
        except (OSError, ValueError, subprocess.SubprocessError):
            return None
    return float(np.median(tries))


def _first_answer(content: bytes) -> float:
    """Milliseconds to the first answer of this process."""
    from ai_edge_litert.interpreter import Interpreter

    began = time.perf_counter()
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    loading = time.perf_counter() - began
    given, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    pixels = np.random.default_rng(0).integers(0, 256, tuple(given["shape"]))
    image = pixels.astype(given["dtype"])
    began = time.perf_counter()
    interpreter.set_tensor(given["index"], image)
    interpreter.invoke()
    interpreter.get_tensor(answer["index"])
    return 1e3 * (loading + time.perf_counter() - began)


if __name__ == "__main__":
    print(_first_answer(sys.stdin.buffer.read()))
