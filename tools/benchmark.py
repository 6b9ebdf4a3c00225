"""Measures the speed of a part of the project, beside other implementations in the same run.

Usage: python -m tools.benchmark WHAT --name=value ...   (WHAT --help lists its flags)

    input     images per second and core of the data pipeline, for each augmentation preset
    train     one training step with teachers, with cached labels or without, beside PyTorch
    infer     a model in inference, one image at a time and many, beside PyTorch
    overhead  what token sets, mutual information, Muon, larger views and more add to a step
    growth    the time of a step against batch, patches and teachers, with a line and a plot
    startup   seconds from the start of the training program to the end of its first step
    export    latency of exported students, beside their matmuls alone, PyTorch and ONNX Runtime
    kernels   a model with oneDNN's kernels and with TensorFlow's own
    shapes    exported students of different widths and numbers of patches
    graph     what each step between a Keras model and its exported file brings, on all families
    all       all but kernels, shapes and graph, one after the other

Figures of a busy machine are worth little; ratios to what ran beside them are worth more. A table
is printed; --json=FILE writes everything, --csv=FILE appends the main figures, one a row. See
docs/speed.md.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

from std_keras import kernels, quiet
from std_keras.config.option import Option
from std_keras.errors import InputError, MachineError
from std_keras.programs import flags
from std_keras.programs.program import StopRequest, console
from tools.benchmarks import (
    every,
    exported,
    exported_graph,
    growth,
    infer,
    input_pipeline,
    kernel_choice,
    overhead,
    results,
    shapes,
    startup,
    train_step,
)

BENCHMARKS: dict[str, Any] = {
    "input": input_pipeline,
    "train": train_step,
    "infer": infer,
    "export": exported,
    "graph": exported_graph,
    "shapes": shapes,
    "overhead": overhead,
    "growth": growth,
    "kernels": kernel_choice,
    "startup": startup,
    "all": every,
}
# In these a second of the processor is a second of one core.
ONE_THREAD = ("input", "export", "graph", "shapes")
# These measure in processes of their own, and need no TensorFlow in this one.
IN_PROCESSES = ("train", "infer", "kernels", "all")
# These have processes to end when they are told to end.
WITH_PROCESSES = (*IN_PROCESSES, "startup")
# Read when TensorFlow and OpenMP load.
kernels.choose()  # The processes that measure inherit it: what the programs run counts.
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
_TOPIC = "What is written"
WRITTEN = {
    "json": Option(topic=_TOPIC, help="A file for all figures, as JSON.", kind=str),
    "csv": Option(topic=_TOPIC, help="A file that gets one more row for each figure.", kind=str),
}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    if not arguments or arguments[0] in ("--help", "-h"):
        raise flags.HelpRequested(str(__doc__))
    what, *rest = arguments
    if what not in BENCHMARKS:
        raise InputError(f"{what!r} is not a benchmark; use one of {', '.join(BENCHMARKS)}")
    benchmark = BENCHMARKS[what]
    options = flags.parse(
        rest,
        program=f"python -m tools.benchmark {what}",
        about=str(benchmark.__doc__),
        options={**WRITTEN, **benchmark.OPTIONS},
        defaults=benchmark.DEFAULTS,
    )
    json_file, csv_file = (options.pop(name) for name in WRITTEN)
    if what in ONE_THREAD:
        os.environ.update(dict.fromkeys(THREADS, "1"))
    for number in (signal.SIGINT, signal.SIGTERM):
        # There is nothing to save. Where TensorFlow computes here, Python could not answer.
        signal.signal(number, _leave if what in WITH_PROCESSES else signal.SIG_DFL)
    if json_file:
        results.writable("json", json_file)
    if csv_file:
        results.check_csv(csv_file)
    if what not in IN_PROCESSES:
        quiet.load_tensorflow()
    if what == "all":  # Its benchmarks print and write rows themselves.
        result = benchmark.run(**options, csv=csv_file)
    else:
        result = {**benchmark.run(**options), "machine": results.machine()}
        print(results.text(result))
    if json_file:
        results.write_json(json_file, result)
    if csv_file and what != "all":
        command = shlex.join(["python", "-m", "tools.benchmark", *arguments])
        results.append_csv(csv_file, result, command=command, figures=benchmark.FIGURES)
    if result.get("failed"):
        raise MachineError(f"benchmarks failed: {', '.join(result['failed'])}; see above")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # Everything is written; see `turns` for why it is not to be taken apart.


def _leave(number: int, frame: object) -> None:
    """Ends this process as Python does, so that it takes its processes and folders with it."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    console(main)
