"""Kernels on a grid of 4 bits, so that what they multiply to changes least: GPTQ.

Frantar et al. 2023 (arXiv 2210.17323), equations 2 and 3 and algorithm 1. The inputs of a kernel
are rounded one after the other. What the products with sample rows lose by one is made up for by
those that are not rounded yet, as far as their inputs go together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from std_keras.exporting.flatbuffer import Grid, matmuls

LARGEST = 7
"""Kernels are whole numbers from -7 to 7, times a scale per output channel."""
# What is added to the diagonal of the rows' second moments, as a part of its mean; as published.
_DAMPING = 0.01
# Weights below it are 0: runtimes ask for scales that float32 holds with all its digits.
_NOTHING = 1e-30
# Parts of a channel's largest value that are tried as the end of the grid.
_ENDS = np.linspace(0.4, 1.0, 31)


def rounded_kernels(content: bytes, moments: Mapping[str, np.ndarray]) -> dict[str, Grid]:
    """The kernels of some matmuls of a float32 file in 4 bits.

    Args:
        content: the float32 file.
        moments: of `second_moments`, for the operators whose kernels are rounded.
    """
    found = matmuls(content)
    sums: dict[int, np.ndarray] = {}  # Matmuls may share a kernel: it is rounded for all of them.
    for name, own in moments.items():
        number = found[name].buffer
        sums[number] = sums[number] + own if number in sums else own
    kernels = {found[name].buffer: found[name].kernel for name in moments}
    grids = {number: rounded(kernels[number], total) for number, total in sums.items()}
    return {name: grids[found[name].buffer] for name in moments}


def second_moments(
    content: bytes, names: Iterable[str], images: np.ndarray
) -> dict[str, np.ndarray]:
    """Runs a float32 file over images: of what its matmuls read, the sum of x xᵀ over rows x.

    Args:
        content: the file.
        names: of the matmuls, as `named_ops` gives them.
        images: (n, H, W, C), pixels 0..255.

    Returns:
        (inputs, inputs) by name.
    """
    interpreter = Interpreter(
        model_content=content,
        # XNNPACK keeps nothing between two operators.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    found = matmuls(content)
    sums = {name: np.zeros((found[name].kernel.shape[1],) * 2) for name in names}
    pixels = interpreter.get_input_details()[0]
    for image in images.astype(pixels["dtype"], copy=False):
        interpreter.set_tensor(pixels["index"], image[np.newaxis])
        interpreter.invoke()
        for name, total in sums.items():
            rows = interpreter.get_tensor(found[name].reads).reshape(-1, len(total))
            total += rows.T @ rows
    return sums


def rounded(kernel: np.ndarray, moments: np.ndarray) -> Grid:
    """The kernel on its grid.

    Args:
        kernel: (outputs, inputs).
        moments: (inputs, inputs), of the rows that are multiplied with it.
    """
    left = kernel.astype(np.float64)
    scales = _scales(left)
    damping = _DAMPING * np.mean(np.diag(moments)) or 1.0  # No input but 0: each is as good.
    damped = moments + damping * np.eye(len(moments))
    # Row i: how inputs i and later stand for input i, once those before are fixed.
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    result = np.empty_like(left)
    for i in range(left.shape[1]):
        result[:, i] = _on_grid(left[:, i], scales)
        error = (left[:, i] - result[:, i]) / upper[i, i]
        left[:, i + 1 :] -= np.outer(error, upper[i, i + 1 :])
    return Grid(np.round(result / scales[:, np.newaxis]).astype(np.int8), scales.astype(np.float32))


def _scales(kernel: np.ndarray) -> np.ndarray:
    """(outputs,): the step of each channel's grid by which its values change least."""
    largest = np.abs(kernel).max(axis=1)
    steps = np.where(largest > _NOTHING, largest, 1.0) / LARGEST
    tried = [steps * end for end in _ENDS]
    errors = [np.square(_on_grid(kernel.T, step).T - kernel).sum(axis=1) for step in tried]
    return np.take_along_axis(np.stack(tried), np.argmin(errors, axis=0)[np.newaxis], axis=0)[0]


def _on_grid(values: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The nearest values of the grids; the last axis is that of the scales."""
    return np.clip(np.round(values / scales), -LARGEST, LARGEST) * scales
