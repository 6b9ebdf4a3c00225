"""Writes the table of peak memory of a training step against the batch size.

Usage: python -m tools.memory_table --output=results/memory.csv [--batch_sizes=8,16] [--jit_compile]
Each cell is a process of its own, which takes two steps of a student with two token sets whose
teachers' labels are given, as from --teacher_cache; so the figures are the student's alone.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from std_keras import progress, quiet
from std_keras.config.option import MODEL, OPTIMIZATION, PERFORMANCE, RUN, Option
from std_keras.errors import InputError, Interrupted
from std_keras.programs import flags, program
from std_keras.programs.program import StopRequest
from std_keras.runs import machine
from tools.benchmarks import memory

ROOT = Path(__file__).resolve().parent.parent
_PROGRAM = (sys.executable, "-m", "tools.memory_table")

VARIANTS = {
    "plain": "plain",
    "rematerialize": "`--rematerialize`",
    "accumulation": "`--accumulation_steps=4`",
    "both": "both",
}
PARTS = 4
DEFAULTS: dict[str, Any] = {
    "output": None,
    "model": "mixer_s16",
    "image_size": 224,
    "width": 0,
    "depth": 0,
    "batch_sizes": "8,16,32,64",
    "variants": "plain,rematerialize,accumulation",
    "jit_compile": False,
    "cell": "",
}
OPTIONS = {
    "output": Option(
        topic=RUN, help="The CSV file to write; a Markdown file is put beside it.", kind=str
    ),
    "model": Option(topic=MODEL, help="The student's backbone, by name.", kind=str),
    "image_size": Option(topic=MODEL, help="Height and width in pixels.", kind=int),
    "width": Option(topic=MODEL, help="Channels; 0 for the model's own.", kind=int),
    "depth": Option(topic=MODEL, help="Blocks; 0 for the model's own.", kind=int),
    "batch_sizes": Option(topic=OPTIMIZATION, help="Separated by commas.", kind=str),
    "variants": Option(
        topic=OPTIMIZATION, help=f"Some of {', '.join(VARIANTS)}, separated by commas.", kind=str
    ),
    "jit_compile": Option(topic=PERFORMANCE, help="Compile the step with XLA.", kind=bool),
    "cell": Option(
        topic=RUN, help="VARIANT,BATCH of the one cell that this process measures.", kind=str
    ),
}
COLUMNS = ("batch_size", "variant", "peak_mb", "step_mb", "seconds_per_step")
_TITLES = ("batch", "variant", "peak, MB", "of these the step, MB", "s per step")
_NOTES = """\
*peak* is the most memory that the process ever held (its resident set), TensorFlow's about 600 MB
and the weights with both moments of AdamW included; *of these the step* is what came on top once
the first step ran. On a GPU both are of the GPU's memory. *s per step* is the second step's time;
of a busy machine it is worth nothing, while the memory holds.
"""


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Measures cell by cell and writes both files; or measures one cell and prints it."""
    parsed = flags.parse(
        arguments,
        program="python -m tools.memory_table",
        about=str(__doc__),
        options=OPTIONS,
        defaults=DEFAULTS,
    )
    if parsed["cell"]:
        variant, _, size = parsed["cell"].partition(",")
        print(json.dumps(measure(parsed, variant=variant, batch_size=int(size))))
        return
    output = Path(parsed["output"] or "")
    if output.suffix != ".csv":
        raise InputError(f"--output={output} must end in .csv")
    sizes, variants = _cells(parsed)
    rows = []
    for size in sizes:
        for variant in variants:
            if stop:
                raise Interrupted("interrupted; nothing was written")
            done = subprocess.run(
                [*_PROGRAM, *arguments, f"--cell={variant},{size}"],
                stdout=subprocess.PIPE,
                text=True,
                check=False,
            )
            # A process that the machine ends for want of memory is a figure, too.
            found = json.loads(done.stdout) if done.returncode == 0 else {}
            row = {"batch_size": size, "variant": variant, **found}
            rows.append({column: row.get(column, "failed") for column in COLUMNS})
            progress.say(" | ".join(str(value) for value in rows[-1].values()))
    output.parent.mkdir(parents=True, exist_ok=True)
    facts = machine.describe(ROOT)
    where = f"{facts['cores']} cores of {facts['processor']}"
    if facts["accelerator"]:
        where += f", {facts['accelerator']}"
    with output.open("w", newline="") as file:
        file.write(f"# python -m tools.memory_table {' '.join(arguments)}\n")
        file.write(f"# {where}; tensorflow {facts['tensorflow']}, keras {facts['keras']}\n")
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    output.with_suffix(".md").write_text(markdown(output), encoding="utf-8")


def _cells(parsed: dict[str, Any]) -> tuple[list[int], list[str]]:
    sizes = parsed["batch_sizes"].split(",")
    variants = parsed["variants"].split(",")
    for size in sizes:
        if not size.isdigit() or int(size) < 1 or int(size) % PARTS:
            raise InputError(f"--batch_sizes: {size!r} is not a multiple of {PARTS}")
    for variant in variants:
        if variant not in VARIANTS:
            raise InputError(f"--variants: {variant!r} is not one of {', '.join(VARIANTS)}")
    return [int(size) for size in sizes], variants


def measure(parsed: dict[str, Any], *, variant: str, batch_size: int) -> dict[str, Any]:
    """Two steps in this process."""
    quiet.load_tensorflow()
    import keras
    import numpy as np
    import tensorflow as tf

    from std_keras import models
    from std_keras.teachers.predictions import CLASS, CONFIDENCE, PredictionFormat
    from std_keras.training.rematerialize import rematerialized
    from std_keras.training.state import TrainState
    from std_keras.training.step import StepOptions, Trainer
    from std_keras.training.task import DistillationTask

    # With one thread TensorFlow computes blocks again before their gradients need them, and holds
    # as much as without. Most machines have more, so one with a single core measures what they do.
    tf.config.threading.set_inter_op_parallelism_threads(max(2, len(os.sched_getaffinity(0))))
    side = parsed["image_size"]
    chosen = {name: parsed[name] for name in ("width", "depth") if parsed[name]}
    model = models.create_student(
        parsed["model"],
        input_shape=(side, side, 3),
        num_classes=1000,
        teacher_sites=["intermediate", "last"],
        **chosen,
    )
    optimizer = keras.optimizers.AdamW(1e-4)
    optimizer.build(model.trainable_variables)
    outputs = models.training_model(model)
    if variant in ("rematerialize", "both"):
        outputs = rematerialized(outputs)
    strategy = tf.distribute.get_strategy()
    heads = tuple((name,) for name in models.head_names(model)[1:])
    trainer = Trainer(
        state=TrainState(model=model, outputs=outputs, optimizer=optimizer),
        task=DistillationTask(
            teacher_heads=heads, prediction_format=PredictionFormat(num_classes=1000, soft=False)
        ),
        strategy=strategy,
        options=StepOptions(
            batch_size=batch_size,
            accumulation_steps=PARTS if variant in ("accumulation", "both") else 1,
            jit_compile=parsed["jit_compile"],
        ),
    )
    rng = np.random.default_rng(0)
    batch = {
        "images": rng.integers(0, 256, (batch_size, side, side, 3), dtype=np.uint8),
        "targets": np.eye(1000, dtype=np.float32)[rng.integers(0, 1000, batch_size)],
        CLASS: rng.integers(0, 1000, (batch_size, len(heads))),
        CONFIDENCE: -rng.random((batch_size, len(heads)), dtype=np.float32),
    }
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    before = _peak()
    trainer.call(batches, first_step=0, steps=1)
    began = time.perf_counter()
    trainer.call(batches, first_step=1, steps=1)
    seconds = time.perf_counter() - began
    peak = _peak()
    return {
        "peak_mb": round(peak),
        "step_mb": round(peak - before),
        "seconds_per_step": round(seconds, 2),
    }


def _peak() -> float:
    """The most memory held so far, in units of 10^6 bytes."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return float(tf.config.experimental.get_memory_info("GPU:0")["peak"]) / 1e6
    return memory.peak_bytes() / 1e6


def markdown(path: Path) -> str:
    """The CSV file as a Markdown page."""
    lines = path.read_text(encoding="utf-8").splitlines()
    command, where = (line[2:] for line in lines[:2])
    rows = list(csv.DictReader(lines[2:]))
    table = [list(_TITLES), ["---:", "---", "---:", "---:", "---:"]]
    table += [
        [VARIANTS[row["variant"]] if c == "variant" else row[c] for c in COLUMNS] for row in rows
    ]
    return "\n".join(
        [
            "# Peak memory of a training step",
            "",
            f"Made from `{path.name}`, which was written by",
            "",
            f"    {command}",
            "",
            f"on {where}.",
            "",
            _NOTES,
            *(f"| {' | '.join(cells)} |" for cells in table),
            "",
        ]
    )


if __name__ == "__main__":
    program.console(main)
