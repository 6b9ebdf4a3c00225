from __future__ import annotations

import itertools

import numpy as np
import pytest

from std_keras.exporting import convert, four_bits, inference_model
from std_keras.exporting.flatbuffer import matmuls
from std_keras.exporting.four_bits import LARGEST, rounded_kernels, second_moments
from std_keras.exporting.verify import run_file


def rounded(kernel: np.ndarray, moments: np.ndarray) -> np.ndarray:
    return four_bits.rounded(kernel, moments).values()


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray]:
    """A kernel (24, 16), and rows whose numbers go together, as those of a network do."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 4)) @ rng.normal(size=(4, 16)) + 0.1 * rng.normal(size=(500, 16))
    return rng.normal(size=(24, 16)).astype(np.float32), rows


def steps(kernel: np.ndarray) -> np.ndarray:
    """The step of each row's grid, found from its values alone."""
    return np.array([np.diff(np.unique(np.append(row, 0.0))).min() for row in kernel])


def test_values_lie_on_a_grid_of_15(problem):
    kernel, rows = problem
    result = rounded(kernel, rows.T @ rows)
    numbers = result / steps(result)[:, np.newaxis]
    np.testing.assert_allclose(numbers, np.round(numbers), atol=1e-4)
    assert np.abs(numbers).max() <= LARGEST + 1e-4
    assert len(np.unique(np.round(numbers))) == 2 * LARGEST + 1


def test_products_change_less_than_by_the_nearest_values(problem):
    kernel, rows = problem
    result = rounded(kernel, rows.T @ rows)
    alone = rounded(kernel, np.eye(16))  # Inputs that have nothing to do with each other.
    nearest = steps(alone)[:, np.newaxis] * np.round(kernel / steps(alone)[:, np.newaxis])
    limit = LARGEST * steps(alone)[:, np.newaxis]
    np.testing.assert_allclose(alone, np.clip(nearest, -limit, limit), rtol=1e-5)
    errors = [np.square(rows @ (k - kernel).T).mean() for k in (result, alone)]
    assert errors[0] < 0.25 * errors[1]


def test_it_is_the_best_of_all_for_two_inputs_that_are_one():
    """The error that is left is that of the sum: every pair on the grid is tried."""
    rng = np.random.default_rng(1)
    kernel = rng.uniform(-1, 1, size=(30, 2))
    both = np.ones((2, 2)) * 100.0
    result = rounded(kernel.astype(np.float32), both)
    for row, got in zip(kernel, result.astype(np.float64), strict=True):
        step = max(np.abs(got)) / round(max(np.abs(got)) / steps(got[np.newaxis])[0])
        grid = step * np.arange(-LARGEST, LARGEST + 1)
        best = min(abs(a + b - row.sum()) for a, b in itertools.product(grid, grid))
        assert abs(got.sum() - row.sum()) < best + 0.51 * step


def test_kernels_of_nothing_and_inputs_of_nothing():
    zeros = rounded(np.zeros((3, 4), np.float32), np.eye(4))
    np.testing.assert_array_equal(zeros, np.zeros((3, 4)))
    kernel = np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32)
    assert np.abs(rounded(kernel, np.zeros((4, 4))) - kernel).max() < 0.5


def test_second_moments_are_those_of_what_a_matmul_reads(student, images):
    """The class head reads the pooled features, which Keras knows, too."""
    import keras

    model = inference_model(student, head="classification")
    content = convert(model, quantization="float32")
    name = list(matmuls(content))[-1]
    moments = second_moments(content, [name], images)[name]
    (head,) = [layer for layer in student.layers if layer.name == "classification"]
    features = keras.Model(student.input, head.input)(images.astype(np.float32))
    found = matmuls(content)[name].kernel
    kernel = head.kernel.numpy().T
    # The norm's scale is in the kernel of the file: compare what both multiply to.
    features = np.asarray(features, np.float64)
    expected = kernel @ np.cov(features.T, bias=True) @ kernel.T
    mean = second_means(content, name, images)
    got = found @ (moments / len(images) - np.outer(mean, mean)) @ found.T
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def second_means(content: bytes, name: str, images: np.ndarray) -> np.ndarray:
    """What the matmul reads, on average."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    read = []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[np.newaxis])
        interpreter.invoke()
        read.append(interpreter.get_tensor(matmuls(content)[name].reads).reshape(-1))
    return np.mean(read, axis=0)


def test_only_the_named_kernels_are_rounded(student, images):
    content = convert(inference_model(student, head="average"), quantization="float32")
    before = matmuls(content)
    name = next(name for name in before if "channel_mlp" in name)
    moments = second_moments(content, [name], images[:2])
    after = rounded_kernels(content, moments)
    assert list(after) == [name]
    np.testing.assert_array_equal(after[name].values(), rounded(before[name].kernel, moments[name]))


@pytest.mark.parametrize("inputs", [2, 4, 6, 30])
@pytest.mark.parametrize("size", [1e-38, 1e-12, 1.0, 2e4])
def test_a_file_computes_with_the_rounded_kernel(inputs, size):
    """Few inputs leave gaps in a grid, and it is the same grid for kernels of any size."""
    import keras

    rng = np.random.default_rng(inputs)
    pixels = keras.Input((1, 1, inputs))
    head = keras.layers.Dense(12, use_bias=False)
    model = keras.Model(pixels, head(keras.layers.Flatten()(pixels)))
    head.kernel.assign(size * rng.normal(size=head.kernel.shape))
    images = rng.integers(0, 256, (20, 1, 1, inputs), dtype=np.uint8)
    content = convert(model, quantization="int4", representative_images=images)
    rows = images.reshape(len(images), -1).astype(np.float64)
    expected = rows @ rounded(head.kernel.numpy().T, rows.T @ rows).T
    got = run_file(content, images=images).logits
    # The rows themselves have 8 bits.
    assert np.abs(got - expected).max() <= 0.02 * np.abs(expected).max()


def test_a_kernel_that_two_matmuls_share_is_rounded_for_both():
    import keras

    rng = np.random.default_rng(0)
    pixels = keras.Input((2, 2, 4))
    shared = keras.layers.Dense(16, activation="gelu")
    hidden = keras.layers.Rescaling(1 / 255)(keras.layers.Flatten()(pixels))
    model = keras.Model(pixels, keras.layers.Dense(3)(shared(shared(hidden))))
    images = rng.integers(0, 256, (20, 2, 2, 4), dtype=np.uint8)
    content = convert(model, quantization="float32")
    found = matmuls(content)
    moments = second_moments(content, found, images)
    grids = rounded_kernels(content, moments)
    one, two = (name for name in found if found[name].kernel.shape == (16, 16))
    expected = rounded(found[one].kernel, moments[one] + moments[two])
    for name in (one, two):
        np.testing.assert_array_equal(grids[name].values(), expected)
