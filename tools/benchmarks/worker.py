"""A process that prepares one variant and then takes its turns when it is told to; see `turns`.

Requests and answers are lines of JSON on standard input and output: first the job, then any number
of turns, then the end.
"""

from __future__ import annotations

import importlib
import json
import os
import time
from typing import Any

from std_keras.errors import InputError
from tools.benchmarks import memory, turns


def main() -> None:
    requests = os.fdopen(os.dup(0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What libraries print must not get among the answers.

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    job = json.loads(requests.readline())
    module, function = job["maker"].split(":")
    began = time.perf_counter()
    try:
        made = getattr(importlib.import_module(module), function)(**job["options"])
    except InputError as error:
        answer(refused=str(error))
        return
    built = time.perf_counter()
    before = memory.resident_bytes()
    made.call()
    answer(
        facts=made.facts,
        times=made.times,
        build_seconds=built - began,
        first_seconds=time.perf_counter() - built,
        bytes=before,
    )
    idle = 0.0
    processor = time.process_time()
    for line in requests:
        idle += time.process_time() - processor
        request = json.loads(line)
        if "end" in request:
            answer(
                peak_bytes=memory.peak_bytes(),
                device_bytes=made.device_bytes(),
                idle_cpu_seconds=idle,
            )
            return
        began = time.process_time()
        timed = turns.repeated(made.call, seconds=request["seconds"])
        used = (time.process_time() - began) / (len(timed) * made.times)
        answer(seconds=[seconds / made.times for seconds in timed], cpu_seconds=used)
        processor = time.process_time()


if __name__ == "__main__":
    main()
    os._exit(0)  # Everything is said; see `turns` for why it is not to be taken apart.
