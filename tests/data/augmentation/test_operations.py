"""Every operation against PIL at fixed parameters."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from std_keras.data.augmentation.blend import rounded_factor
from std_keras.data.augmentation.operations import Operation, apply_operation

FILL = (124, 116, 104)
CUBIC, NEAREST = Image.Resampling.BICUBIC, Image.Resampling.NEAREST


def picture(height=37, width=41, seed=0):
    """Smooth colours with edges and some noise: flat parts, extremes, fine detail."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 5 + y / 9), np.cos(x / 7), np.sin(y / 3)], axis=-1)
    pixels = 128 + 90 * waves + rng.normal(0, 12, waves.shape)
    pixels[5:12, 8:20] = (250, 10, 130)
    return np.clip(pixels, 0, 255).astype(np.uint8)


@functools.cache
def compiled(shape):
    return tf.function(functools.partial(apply_operation, fill=FILL[: shape[-1]]), jit_compile=True)


def ours(pixels, operation, argument):
    run = compiled(pixels.shape)
    return run(
        tf.constant(pixels), tf.constant(int(operation)), tf.constant(argument, tf.float32)
    ).numpy()


def affine(image, matrix, resample=CUBIC):
    kind = Image.Transform.AFFINE
    return image.transform(image.size, kind, matrix, resample=resample, fillcolor=FILL)


def solarize_add(image, addend):
    return image.point([min(255, v + int(addend)) if v < 128 else v for v in range(256)] * 3)


EXACT = {
    Operation.IDENTITY: (lambda image, _: image, [0.0]),
    Operation.EQUALIZE: (lambda image, _: ImageOps.equalize(image), [0.0]),
    Operation.INVERT: (lambda image, _: ImageOps.invert(image), [0.0]),
    Operation.POSTERIZE: (lambda image, a: ImageOps.posterize(image, int(a)), [1.0, 4.0, 8.0]),
    Operation.SOLARIZE: (lambda image, a: ImageOps.solarize(image, int(a)), [0.0, 26.0, 256.0]),
    Operation.SOLARIZE_ADD: (solarize_add, [0.0, 99.0, 110.0]),
    Operation.CONTRAST: (lambda i, a: ImageEnhance.Contrast(i).enhance(a), [0.1, 0.19, 1.0, 1.9]),
    Operation.BRIGHTNESS: (lambda i, a: ImageEnhance.Brightness(i).enhance(a), [0.1, 1.0, 1.81]),
    Operation.COLOR: (lambda i, a: ImageEnhance.Color(i).enhance(a), [0.0, 0.19, 1.0, 1.9]),
    Operation.SHARPNESS: (lambda i, a: ImageEnhance.Sharpness(i).enhance(a), [0.1, 1.0, 1.9]),
}


@pytest.mark.parametrize("operation", EXACT)
@pytest.mark.parametrize("shape", [(37, 41), (32, 32), (3, 2)])
def test_is_pils_bit_for_bit(operation, shape):
    pil, arguments = EXACT[operation]
    for seed, argument in enumerate(arguments):
        argument = float(rounded_factor(tf.constant(argument)))
        pixels = picture(*shape, seed=seed)
        expected = np.asarray(pil(Image.fromarray(pixels), argument))
        np.testing.assert_array_equal(ours(pixels, operation, argument), expected)


CUBICS = {
    Operation.SHEAR_X: (lambda i, a: affine(i, (1, a, 0, 0, 1, 0)), [0.0, 0.27, -0.3]),
    Operation.SHEAR_Y: (lambda i, a: affine(i, (1, 0, 0, a, 1, 0)), [0.0, 0.27, -0.3]),
    Operation.TRANSLATE_X: (lambda i, a: affine(i, (1, 0, a, 0, 1, 0)), [3.0, 12.96, -12.4, 90.0]),
    Operation.TRANSLATE_Y: (lambda i, a: affine(i, (1, 0, 0, 0, 1, a)), [3.0, 12.96, -12.4, 90.0]),
    Operation.ROTATE: (
        lambda i, a: i.rotate(a, resample=CUBIC, fillcolor=FILL),
        [0.0, 4.5, 27.0, -30.0],
    ),
    Operation.ROTATE_NEAREST: (
        lambda i, a: i.rotate(a, resample=NEAREST, fillcolor=FILL),
        [0.0, 7.0, 26.7],
    ),
}


@pytest.mark.parametrize("operation", CUBICS)
@pytest.mark.parametrize("shape", [(37, 41), (32, 32), (3, 2)])
def test_interpolation_is_pils_but_for_float32(operation, shape):
    """PIL works in float64 or in 1/65536; what is next to a whole number may fall on its side."""
    pil, arguments = CUBICS[operation]
    for seed, argument in enumerate(arguments):
        pixels = picture(*shape, seed=seed)
        expected = np.asarray(pil(Image.fromarray(pixels), argument)).astype(int)
        difference = np.abs(ours(pixels, operation, argument) - expected)
        # A pixel whose source lies on a border may count to either side of it.
        assert (difference > 1).mean() < 0.005
        assert (difference > 0).mean() < 0.02


def test_auto_contrast_is_pils_or_exact():
    """PIL's floating point falls one short of whole numbers at times, of 255 for example."""
    for seed in range(4):
        pixels = picture(seed=seed)
        pixels = 40 + pixels // 2
        expected = np.asarray(ImageOps.autocontrast(Image.fromarray(pixels))).astype(int)
        got = ours(pixels, Operation.AUTO_CONTRAST, 0.0)
        low, high = pixels.min((0, 1)).astype(int), pixels.max((0, 1)).astype(int)
        np.testing.assert_array_equal(got, 255 * (pixels - low) // (high - low))
        assert np.abs(got - expected).max() <= 1
        assert (got != expected).mean() < 0.05


@pytest.mark.parametrize("operation", Operation)
def test_one_colour_and_grey_images(operation):
    flat = np.full((8, 9, 3), (0, 77, 255), np.uint8)
    if operation in (Operation.AUTO_CONTRAST, Operation.EQUALIZE, Operation.SHARPNESS):
        np.testing.assert_array_equal(ours(flat, operation, 0.5), flat)
    pixels = picture(seed=5)[..., :1]
    factor = 0.25 if operation != Operation.POSTERIZE else 3.0
    same_on_rgb = ours(np.repeat(pixels, 3, axis=-1), operation, factor)
    grey = ours(pixels, operation, factor)
    inside = np.all(same_on_rgb == same_on_rgb[..., :1], axis=-1)  # Not the coloured fill.
    np.testing.assert_array_equal(grey[inside], same_on_rgb[..., :1][inside])
    assert inside.mean() > 0.5
