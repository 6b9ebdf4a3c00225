"""Measures exported Mixer students on one thread, beside what else runs such a network.

- matmul_ms: the matmuls of the network alone, all of its shapes with as many different kernels, in
  files of nothing else; for float32, for int8 with dynamic and with static ranges. Of int8,
  for each shape the faster one counts: what the machine allows.
- pytorch: the same network in PyTorch, eager, float32; onnxruntime: exported from it, float32
  and after its dynamic int8 quantisation (--against=onnxruntime needs torch, onnx, onnxruntime).

All in turns in one run, in 5 rounds; milliseconds, the median of the least disturbed round.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from std_keras import quiet
from std_keras.config.option import Option
from std_keras.errors import InputError

_TOPIC = "Export benchmark"
OPTIONS = {
    "image_size": Option(topic=_TOPIC, help="Side of the images in pixels.", kind=int),
    "patch_size": Option(topic=_TOPIC, help="Side of a patch in pixels.", kind=int),
    "width": Option(topic=_TOPIC, help="Channels of the Mixer.", kind=int),
    "depth": Option(topic=_TOPIC, help="Blocks of the Mixer.", kind=int),
    "against": Option(
        topic=_TOPIC,
        help="What else to measure.",
        kind=str,
        choices=("none", "pytorch", "onnxruntime"),
    ),
    "runs": Option(topic=_TOPIC, help="Timed inferences of each.", kind=int),
    "files_dir": Option(
        topic=_TOPIC,
        help="Where files are kept; those that are there are used again. A temporary folder if not "
        "given.",
        kind=str,
    ),
}
DEFAULTS = {
    "image_size": 32,
    "patch_size": 4,
    "width": 512,
    "depth": 8,
    "against": "none",
    "runs": 60,
}
# Of the results, those that results/benchmarks.csv keeps.
FIGURES = ("bytes/*", "ms/*", "matmul_ms/*", "best_to_matmul", "* to best")
_CLASSES = 100
_QUANTIZATIONS = ("float32", "float16", "dynamic", "int8", "int4")
_ROUNDS = 5


def run(
    *,
    image_size: int,
    patch_size: int,
    width: int,
    depth: int,
    against: str,
    runs: int,
    files_dir: str | None = None,
) -> dict[str, Any]:
    """The figures; see the module's text and `OPTIONS`."""
    check_counts(runs=runs, width=width, depth=depth)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(files_dir or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        size = {"image_size": image_size, "patch_size": patch_size, "width": width, "depth": depth}
        calls: dict[str, Callable[[], Any]] = {}
        files = student_files(folder, quantizations=_QUANTIZATIONS, **size)
        for name, content in files.items():
            calls[name] = interpreter(content)
        shapes = matmul_shapes(files["float32"])
        for kind in ("float32", "dynamic", "int8"):
            for shape, count in shapes.items():
                calls[_matmul_name(kind, shape)] = interpreter(
                    _matmul_file(folder, shape, count, kind)
                )
        if against != "none":
            from tools.benchmarks import torch_student

            calls |= torch_student.calls(
                folder, classes=_CLASSES, with_onnxruntime=against == "onnxruntime", **size
            )
        figures = measure(calls, runs)
    rates = {
        kind: sum(figures.pop(_matmul_name(kind, shape)) for shape in shapes)
        for kind in ("float32",)
    }
    fastest = 0.0
    totals = Counter[str]()
    for shape in shapes:
        both = {kind: figures.pop(_matmul_name(kind, shape)) for kind in ("dynamic", "int8")}
        fastest += min(both.values())
        totals.update(both)
    best = min(_QUANTIZATIONS, key=lambda name: figures[name])
    result = {
        "benchmark": "export",
        **size,
        "threads": 1,
        "bytes": {name: len(content) for name, content in files.items()},
        "ms": figures,
        "matmul_ms": {**rates, **totals, "fastest int8": fastest},
        "best_file": best,
        "best_to_matmul": figures[best] / fastest,
    }
    for other in ("pytorch float32", "onnxruntime float32", "onnxruntime int8"):
        if other in figures:
            result[f"{other} to best"] = figures[other] / figures[best]
    return result


def check_counts(**flags: int) -> None:
    """Refuses numbers of things that are not there."""
    for flag, value in flags.items():
        if value < 1:
            raise InputError(f"--{flag}={value} is outside its limits; it must be at least 1")


def student_files(
    folder: Path,
    *,
    image_size: int,
    patch_size: int,
    width: int,
    depth: int,
    quantizations: Sequence[str] = _QUANTIZATIONS,
) -> dict[str, bytes]:
    """The student with one token set and random weights; its average head. float32 comes first."""
    import keras
    import numpy as np

    from std_keras import exporting, models
    from std_keras.exporting.quantize import needs_images
    from tools.export_table import like_trained

    paths = {name: folder / f"student_{name}.tflite" for name in quantizations}
    if not all(path.is_file() for path in paths.values()):
        keras.utils.set_random_seed(0)
        student = models.create_student(
            "mixer_s16",
            input_shape=(image_size, image_size, 3),
            num_classes=_CLASSES,
            patch_size=patch_size,
            width=width,
            depth=depth,
            teacher_sites=["last"],
        )
        like_trained(student)
        model = exporting.inference_model(student, head="average")
        shape = (16, image_size, image_size, 3)
        images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        float32 = None
        for name, path in paths.items():
            content = exporting.convert(
                model,
                quantization=name,
                representative_images=images if needs_images(name) else None,
                float32_content=float32,
            )
            float32 = content if name == "float32" else float32
            path.write_bytes(content)
    return {name: path.read_bytes() for name, path in paths.items()}


def matmul_shapes(content: bytes) -> Counter[tuple[int, int, int]]:
    """(rows, inputs, outputs) of every dense layer in a file, and how many have it."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    tensors = {tensor["index"]: tensor["shape"] for tensor in interpreter.get_tensor_details()}
    shapes = Counter[tuple[int, int, int]]()
    for op in interpreter._get_ops_details():
        if op["op_name"] == "FULLY_CONNECTED":
            outputs, inputs = (int(size) for size in tensors[op["inputs"][1]])
            rows = int(np.prod(tensors[op["inputs"][0]])) // inputs
            shapes[rows, inputs, outputs] += 1
    return shapes


def _matmul_name(kind: str, shape: tuple[int, int, int]) -> str:
    return f"matmul_{kind}_{'x'.join(map(str, shape))}"


def _matmul_file(folder: Path, shape: tuple[int, int, int], count: int, kind: str) -> bytes:
    """Dense layers without bias that read the same rows, each with its own kernel."""
    import numpy as np
    import tensorflow as tf

    path = folder / f"{_matmul_name(kind, shape)}_{count}.tflite"
    if path.is_file():
        return path.read_bytes()
    rows, inputs, outputs = shape
    rng = np.random.default_rng(0)
    kernels = [
        tf.constant(rng.normal(size=(inputs, outputs)), tf.float32) / inputs**0.5
        for _ in range(count)
    ]
    signature = [tf.TensorSpec((rows, inputs), tf.float32)]

    @tf.function(input_signature=signature, autograph=False)
    def multiply(x: Any) -> Any:
        return [tf.matmul(x, kernel) for kernel in kernels]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([multiply.get_concrete_function()])
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "int8":
        sample = rng.normal(size=(rows, inputs)).astype("float32")
        converter.representative_dataset = lambda: iter([[sample]])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    with quiet.muted_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path.write_bytes(converter.convert())
    return path.read_bytes()


def interpreter(content: bytes) -> Callable[[], Any]:
    """A function that runs a file once, on one thread."""
    from ai_edge_litert.interpreter import Interpreter

    loaded = Interpreter(model_content=content, num_threads=1)
    loaded.allocate_tensors()
    return loaded.invoke


def measure(
    calls: dict[str, Callable[[], Any]],
    runs: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Milliseconds of each by a clock, measured in turns: the smallest of the rounds' medians.

    A disturbance by other programs lasts longer than an inference, but rarely for all rounds.
    """
    medians: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(_ROUNDS):
        for name, call in calls.items():
            for _ in range(3):
                call()
            seconds = []
            for _ in range(max(1, runs // _ROUNDS)):
                start = clock()
                call()
                seconds.append(clock() - start)
            medians[name].append(statistics.median(seconds))
    return {name: min(values) * 1e3 for name, values in medians.items()}
