"""Times the exact forms of CycleFC and prints a table; see std_keras/layers/cycle_fc.py.

Usage: python -m tools.time_cycle_fc [jit_compile]

Each figure is the lowest of 30 interleaved runs, relative to a plain dense layer in the same run,
over the shapes of CycleMLP-B1's four stages at 224 px. What runs is one layer along the width and
one along the height: forward and backward on eight images, and as a TFLite file on one thread.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable
from typing import Any

from std_keras import quiet

quiet.load_tensorflow()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from ai_edge_litert.interpreter import Interpreter  # noqa: E402

from tools import no_flags  # noqa: E402

STAGES = ((56, 64), (28, 128), (14, 320), (7, 512))
K, RUNS, BATCH = 3, 30, 8
Form = Callable[[tf.Tensor, Any, Any, int], tf.Tensor]


def main(jit_compile: bool) -> None:
    columns: dict[str, Callable[..., Callable[[], Any]]] = {
        "training step": functools.partial(training_step, jit_compile=jit_compile)
    }
    if not jit_compile:
        for quantization in ("float32", "dynamic", "int8"):
            columns[f"TFLite {quantization}"] = functools.partial(tflite, quantization=quantization)
    ratios: dict[str, dict[str, list[float]]] = {name: {c: [] for c in columns} for name in FORMS}
    for column, prepare in columns.items():
        for size, channels in STAGES:
            runs = {name: prepare(form, size, channels) for name, form in FORMS.items()}
            lowest = interleaved(runs)
            for name, seconds in lowest.items():
                ratios[name][column].append(seconds / lowest["dense layer alone"])
    print("| form |", " | ".join(columns), "|")
    for name, row in ratios.items():
        print(
            "|", name, "|", " | ".join(f"{min(r):.1f} to {max(r):.1f}" for r in row.values()), "|"
        )


def interleaved(runs: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """The lowest time of each in seconds; taking turns, so that a busy machine hits all alike."""
    lowest = dict.fromkeys(runs, float("inf"))
    for _ in range(RUNS):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            lowest[name] = min(lowest[name], time.perf_counter() - start)
    return lowest


def training_step(form: Form, size: int, channels: int, jit_compile: bool) -> Callable[[], Any]:
    x = tf.random.normal((BATCH, size, size, channels))
    kernel = tf.Variable(tf.random.normal((channels, channels)))
    bias = tf.Variable(tf.zeros(channels))

    @tf.function(jit_compile=jit_compile)
    def step(x: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = form(form(x, kernel, bias, 2), kernel, bias, 1)
            loss = tf.reduce_sum(y * y)
        return tape.gradient(loss, [x, kernel, bias])

    step(x)
    return lambda: [gradient.numpy() for gradient in step(x)]


def tflite(form: Form, size: int, channels: int, quantization: str) -> Callable[[], Any]:
    kernel = tf.random.normal((channels, channels), stddev=channels**-0.5).numpy()
    bias = np.zeros(channels, "float32")
    shape = (1, size, size, channels)
    module = tf.Module()
    module.call = tf.function(
        lambda x: form(form(x, kernel, bias, 2), kernel, bias, 1),
        input_signature=[tf.TensorSpec(shape)],
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.call.get_concrete_function()], module
    )
    if quantization != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "int8":
        converter.representative_dataset = lambda: ([tf.random.normal(shape)] for _ in range(4))
    with quiet.muted_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = converter.convert()
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    index = interpreter.get_input_details()[0]["index"]
    interpreter.set_tensor(index, np.random.default_rng(1).normal(size=shape).astype("float32"))
    interpreter.invoke()
    return interpreter.invoke


def steps(channels: int) -> np.ndarray:
    """d_i of every channel."""
    return (np.arange(channels) + K // 2) % K - K // 2


def taps(channels: int) -> np.ndarray:
    """(K, channels) with a one where the convolution reads."""
    return (steps(channels) == np.arange(K)[:, None] - K // 2).astype("float32")


def moved(x: tf.Tensor, axis: int, step: int) -> tf.Tensor:
    """x at the positions p + step, zero outside."""
    padding = [[0, 0]] * 4
    padding[axis] = [max(0, -step), max(0, step)]
    begin = [0] * 4
    begin[axis] = max(0, step)
    return tf.slice(tf.pad(x, padding), begin, [-1, *x.shape[1:]])


def dense(x: tf.Tensor, kernel: Any, bias: Any, axis: int = 0) -> tf.Tensor:
    y = tf.matmul(tf.reshape(x, (-1, x.shape[-1])), kernel) + bias
    return tf.reshape(y, (-1, *x.shape[1:3], kernel.shape[1]))


def depthwise(x: tf.Tensor, kernel: Any, bias: Any, axis: int) -> tf.Tensor:
    ones = np.expand_dims(taps(x.shape[-1]), (1 if axis == 1 else 0, 3))
    return dense(tf.nn.depthwise_conv2d(x, ones, [1] * 4, "SAME"), kernel, bias)


def convolution(x: tf.Tensor, kernel: Any, bias: Any, axis: int) -> tf.Tensor:
    dense_kernel = taps(x.shape[-1])[:, :, None] * kernel
    return tf.nn.conv2d(x, tf.expand_dims(dense_kernel, axis % 2), 1, "SAME") + bias


def selection(x: tf.Tensor, kernel: Any, bias: Any, axis: int) -> tf.Tensor:
    y = x
    for step in (-1, 1):
        y = tf.where(steps(x.shape[-1]) == step, moved(x, axis, step), y)
    return dense(y, kernel, bias)


def masks(x: tf.Tensor, kernel: Any, bias: Any, axis: int) -> tf.Tensor:
    y = tf.add_n(
        [moved(x, axis, tap - K // 2) * mask for tap, mask in enumerate(taps(x.shape[-1]))]
    )
    return dense(y, kernel, bias)


def sorted_channels(x: tf.Tensor, kernel: Any, bias: Any, axis: int) -> tf.Tensor:
    groups = [moved(x[..., i::K], axis, int(steps(K)[i])) for i in range(K)]
    rows = tf.concat([kernel[i::K] for i in range(K)], 0)
    return dense(tf.concat(groups, -1), rows, bias)


def interleaved_channels(x: tf.Tensor, kernel: Any, bias: Any, axis: int) -> tf.Tensor:
    channels = x.shape[-1]
    padded = tf.pad(x, [[0, 0]] * 3 + [[0, -channels % K]])
    groups = [moved(padded[..., i::K], axis, int(steps(K)[i])) for i in range(K)]
    y = tf.reshape(tf.stack(groups, -1), (-1, *padded.shape[1:]))
    return dense(y[..., :channels], kernel, bias)


FORMS: dict[str, Form] = {
    "dense layer alone": dense,
    "depthwise convolution": depthwise,
    "dense convolution": convolution,
    "selection": selection,
    "masks": masks,
    "sorted channels": sorted_channels,
    "interleaved channels": interleaved_channels,
}

if __name__ == "__main__":
    word = no_flags.read(__doc__, program="python -m tools.time_cycle_fc", words=("jit_compile",))
    main(jit_compile=word is not None)
