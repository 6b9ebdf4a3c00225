"""Our operations against KerasCV's layers, called with fixed parameters.

Equal to the last bit, or within what the two ways to round leave: KerasCV computes in floating
point and rounds nothing, ours are PIL's and have whole numbers after every step. Each test says
where the definitions differ and what of them is compared. What has nothing in common is not here:

- brightness: KerasCV adds a number to every pixel, PIL (and ours) multiplies (`test_blend` compares
  what ours is made of);
- random crop: `keras_cv.layers.RandomCrop` resamples the picture, ours takes pixels as they are;
- random resized crop, rotation, shear and translation by parts of pixels: KerasCV has no cubic
  interpolation.
"""

from __future__ import annotations

import functools

import keras_cv
import numpy as np
import pytest
import tensorflow as tf
from keras_cv.src.utils import preprocessing  # `blend` has no public name.

from std_keras.data.augmentation import affine, erasing, mixing, tables
from std_keras.data.augmentation.blend import blend
from std_keras.data.augmentation.luminance import luminance
from std_keras.data.augmentation.operations import Operation, apply_operation
from std_keras.data.augmentation.padded_crop import crop_and_flip

FILL = 77
RANGE = (0, 255)
# Of float32 sums and products of numbers up to about 1000, a handful of roundings.
FLOAT32 = 1e-3
FACTORS = [0.125, 0.5, 0.875, 1.0, 1.75]  # Which both blend without rounding.


def picture(height=32, width=32, channels=3, seed=0):
    """Smooth colours, noise, and a flat part: pixels (H, W, C) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 5 + y / 9), np.cos(x / 7), np.sin(y / 3)], axis=-1)
    pixels = 128 + 70 * waves + rng.normal(0, 15, waves.shape)
    pixels[5:12, 8:20] = (250, 10, 130)
    return np.clip(pixels, 0, 255).astype(np.uint8)[..., :channels]


@functools.cache
def compiled():
    return tf.function(functools.partial(apply_operation, fill=(FILL,) * 3), jit_compile=True)


def ours(pixels, operation, argument=0.0):
    argument = tf.constant(argument, tf.float32)
    return compiled()(tf.constant(pixels), tf.constant(int(operation)), argument).numpy()


def theirs(layer, pixels, transformations):
    """What a layer makes of one image, (H, W, C) float32."""
    images = tf.constant(pixels[None], tf.float32)
    return layer.augment_images(images, transformations=transformations).numpy()[0]


def solarized(pixels, *, threshold, addition=0.0):
    layer = keras_cv.layers.Solarization(RANGE)
    shape = (1, 1, 1, 1)
    given = {"thresholds": tf.fill(shape, threshold), "additions": tf.fill(shape, addition)}
    return theirs(layer, pixels, given)


@pytest.mark.parametrize("threshold", [0.0, 26.0, 128.5, 255.0, 256.0])
def test_solarize(threshold):
    pixels = picture()
    expected = solarized(pixels, threshold=threshold)
    np.testing.assert_array_equal(ours(pixels, Operation.SOLARIZE, threshold), expected)


def test_invert():
    """KerasCV has no layer of that name: it is to solarize everything."""
    pixels = picture()
    expected = solarized(pixels, threshold=0.0)
    np.testing.assert_array_equal(ours(pixels, Operation.INVERT), expected)


@pytest.mark.parametrize("addend", [0.0, 99.0, 110.0])
def test_solarize_add(addend):
    """Ours adds to the values below 128 alone, as timm's; KerasCV's adds to all of them."""
    pixels = picture()
    added = solarized(pixels, threshold=256.0, addition=addend)
    expected = np.where(pixels < 128, added, pixels)
    np.testing.assert_array_equal(ours(pixels, Operation.SOLARIZE_ADD, addend), expected)


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize(bits):
    pixels = picture()
    layer = keras_cv.layers.Posterization(RANGE, bits)
    expected = layer.augment_image(tf.constant(pixels, tf.float32)).numpy()
    np.testing.assert_array_equal(ours(pixels, Operation.POSTERIZE, bits), expected)


@pytest.mark.parametrize("seed", range(3))
def test_equalize(seed):
    """PIL (and ours) leaves the count of the brightest value out of the total, KerasCV that of the
    rarest one; they agree where the brightest value is the rarest, as it is made to be here."""
    pixels = np.minimum(picture(seed=seed), 240)
    for channel in range(3):
        pixels[channel, 0, channel] = 255
    flat = np.full_like(pixels, (0, 77, 255))
    layer = keras_cv.layers.Equalization(RANGE)
    for image in (pixels, flat):
        expected = theirs(layer, image, None)
        np.testing.assert_array_equal(ours(image, Operation.EQUALIZE), expected)


@pytest.mark.parametrize("seed", range(3))
def test_auto_contrast(seed):
    """KerasCV's result is not rounded, ours is rounded down.

    The exact result is a fraction over (highest - lowest), at most 255: if it is no whole number,
    it is at least 1/255 below the next one, and an error of float32 does not reach that far.
    """
    pixels = 40 + picture(seed=seed) // 2
    pixels[..., 1] = 99  # One value: it stays.
    expected = theirs(keras_cv.layers.AutoContrast(RANGE), pixels, None)
    np.testing.assert_array_equal(
        ours(pixels, Operation.AUTO_CONTRAST), np.floor(expected + FLOAT32)
    )


@pytest.mark.parametrize("factor", FACTORS)
def test_blend(factor):
    """The core of brightness, contrast, colour and sharpness; ours cuts fractions off."""
    base, image = picture(seed=1).astype(np.float32), picture(seed=2).astype(np.float32)
    expected = preprocessing.blend(tf.constant(base), tf.constant(image), factor)
    np.testing.assert_array_equal(
        blend(tf.constant(base), tf.constant(image), tf.constant(factor)), np.floor(expected)
    )


@pytest.mark.parametrize("factor", FACTORS)
def test_contrast(factor):
    """KerasCV takes each channel away from its own mean, PIL (and ours) all of them from the mean
    grey, rounded: the same for a grey picture whose mean is a whole number."""
    pixels = picture(channels=1)
    excess = int(pixels.sum(dtype=np.int64)) % pixels.size
    pixels.reshape(-1)[np.flatnonzero(pixels > 0)[:excess]] -= 1
    assert pixels.mean() == round(pixels.mean())
    layer = keras_cv.layers.RandomContrast(RANGE, 0.5)
    expected = theirs(layer, pixels, tf.fill((1, 1, 1, 1), factor))
    image = tf.constant(pixels)
    table = tf.cast(tables.contrast(image, tf.constant(factor)), tf.uint8)
    np.testing.assert_array_equal(tables.look_up(image, table), np.floor(expected))


# Ours has whole grey values, with weights of 1/65536; TensorFlow's have four digits and the sum
# 0.9999.
GREY = 0.5 + 255 * (1 - 0.9999) + 0.01


def test_grey_values():
    pixels = picture()
    expected = theirs(keras_cv.layers.Grayscale(), pixels, None)
    assert np.abs(luminance(tf.constant(pixels)).numpy() - expected).max() <= GREY


@pytest.mark.parametrize("factor", [0.0, *FACTORS])
def test_color(factor):
    """KerasCV's factor is the part of grey, PIL's (and ours) that of the picture."""
    pixels = picture()
    layer = keras_cv.layers.RandomColorDegeneration(0.5)
    expected = theirs(layer, pixels, tf.fill((1, 1, 1, 1), 1.0 - factor))
    cut_off = expected - ours(pixels, Operation.COLOR, factor)
    of_grey = abs(1.0 - factor) * GREY
    assert cut_off.min() >= -of_grey - FLOAT32
    assert cut_off.max() < 1.0 + of_grey + FLOAT32


@pytest.mark.parametrize("factor", [0.0, *FACTORS])
def test_sharpness(factor):
    """KerasCV's factor is the part of the smoothed picture, PIL's (and ours) that of the picture;
    ours rounds the smoothed one, by a half at most."""
    pixels = picture()
    layer = keras_cv.layers.RandomSharpness(0.5, RANGE)
    expected = theirs(layer, pixels, tf.fill((1, 1, 1, 1), 1.0 - factor))
    cut_off = expected - ours(pixels, Operation.SHARPNESS, factor)
    of_smooth = abs(1.0 - factor) * 0.5
    assert cut_off.min() >= -of_smooth - FLOAT32
    assert cut_off.max() < 1.0 + of_smooth + FLOAT32


@pytest.mark.parametrize("pixels_moved", [0, 3, -12, 40])
@pytest.mark.parametrize("operation", [Operation.TRANSLATE_X, Operation.TRANSLATE_Y])
def test_translation_by_whole_pixels(operation, pixels_moved):
    """KerasCV moves the picture by a part of its side; ours, as PIL, where pixels come from.

    Only whole numbers of pixels: between them KerasCV is bilinear and ours cubic.
    """
    pixels = picture()
    layer = keras_cv.layers.RandomTranslation(1.0, 1.0, fill_mode="constant", fill_value=FILL)
    part, none = tf.constant([[-pixels_moved / 32]]), tf.zeros((1, 1))
    along_x = operation == Operation.TRANSLATE_X
    given = {
        "width_translations": part if along_x else none,
        "height_translations": none if along_x else part,
    }
    expected = theirs(layer, pixels, given)
    np.testing.assert_array_equal(ours(pixels, operation, pixels_moved), expected)


@pytest.mark.parametrize("slope", [1.0, -1.0, 2.0])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_shear_by_whole_pixels(axis, slope):
    """KerasCV shears about the first row's pixels, PIL (and ours) about its upper edge, half a
    pixel away, which the offset takes back. Only slopes that lead from pixel to pixel: between
    them KerasCV is bilinear and ours cubic."""
    pixels = picture()
    layer = keras_cv.layers.RandomShear(1.0, 1.0, fill_mode="constant", fill_value=FILL)
    given = {"shear_x": None, "shear_y": None, f"shear_{axis}": tf.constant([[slope]])}
    expected = theirs(layer, pixels, given)
    transform = affine.transform_rows if axis == "x" else affine.transform_columns
    moved = transform(
        tf.constant(pixels),
        slope=tf.constant(slope),
        offset=tf.constant(-slope / 2),
        fill=tf.constant([FILL] * 3, tf.uint8),
    )
    np.testing.assert_array_equal(moved, expected)


@pytest.mark.parametrize("degrees", [0.0, 7.0, 26.7, -30.0, 90.0, 180.0])
def test_rotation_to_the_nearest_pixel(degrees):
    """Equal where the nearest pixel is not a matter of float32's last digits.

    KerasCV has no cubic interpolation, which `Operation.ROTATE` has.
    """
    pixels = picture(height=32, width=32)
    layer = keras_cv.layers.RandomRotation(
        0.5, fill_mode="constant", fill_value=FILL, interpolation="nearest"
    )
    angle = np.deg2rad(degrees)
    expected = theirs(layer, pixels, {"angles": tf.constant([angle], tf.float32)})
    y, x = np.mgrid[:32, :32] - 15.5
    sources = np.stack(
        [np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y]
    )
    fraction = (sources + 16.0) % 1.0  # 0 and 1 lie between two pixels.
    is_clear = (np.minimum(fraction, 1.0 - fraction) > 1e-4).all(axis=0)
    assert is_clear.mean() > 0.9
    difference = ours(pixels, Operation.ROTATE_NEAREST, degrees) != expected
    assert not difference[is_clear].any()


def test_flip():
    pixels = np.stack([picture(seed=seed) for seed in range(4)])
    flip = np.array([True, False, False, True])
    layer = keras_cv.layers.RandomFlip("horizontal")
    given = {
        "flip_horizontals": tf.constant(flip[:, None], tf.float32),
        "flip_verticals": tf.zeros((4, 1)),
    }
    expected = layer.augment_images(tf.constant(pixels, tf.float32), given)
    flipped = crop_and_flip(tf.constant(pixels), padding=0, corner=None, flip=tf.constant(flip))
    np.testing.assert_array_equal(flipped, expected)


@pytest.mark.parametrize("box", [(3, 4, 10, 7), (0, 0, 5, 32), (20, 25, 12, 7)])
def test_erased_rectangle(box):
    """Which pixels are erased, given the same rectangle; KerasCV's noise is another, and its
    rectangles may reach over the border."""
    top, left, height, width = box
    layer = keras_cv.layers.RandomCutout(0.5, 0.5, fill_value=1.0)
    given = {
        "centers_x": tf.constant([left + width / 2]),
        "centers_y": tf.constant([top + height / 2]),
        "rectangles_width": tf.constant([float(width)]),
        "rectangles_height": tf.constant([float(height)]),
    }
    is_erased = theirs(layer, np.zeros((32, 32, 3), np.uint8), given) == 1.0
    assert is_erased.sum() == 3 * height * width
    pixels, key = picture(), tf.constant([5, 6])
    colours = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.2, 0.3)}
    noise = erasing.noise(key, pixels.shape, **colours)
    erased = erasing.erase(tf.constant(pixels), tf.constant([box]), key, **colours)
    np.testing.assert_array_equal(erased, np.where(is_erased, noise, pixels))


def batch(size=16):
    images = np.stack([picture(seed=seed) for seed in range(size)])
    return images, np.random.default_rng(0).dirichlet(np.ones(5), size).astype(np.float32)


def with_ratio(layer, ratio, monkeypatch):
    """The layer, with the same ratio for every example instead of one drawn from Beta."""

    def fixed(alpha, beta, shape):
        return tf.fill(shape, ratio)

    monkeypatch.setattr(layer, "_sample_from_beta", fixed)
    return layer


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.75, 1.0])
def test_mixup(monkeypatch, ratio):
    """Given the same ratio and partners; ours has one ratio for a batch, and whole pixel values."""
    images, targets = batch()
    layer = with_ratio(keras_cv.layers.MixUp(), ratio, monkeypatch)
    mixed, ratios, order = layer._mixup(tf.constant(images, tf.float32))
    drawn = {
        "mix_pixels": tf.fill((16,), ratio),
        "mix_targets": tf.fill((16,), ratio),
        "mix_box": tf.zeros((16, 4), tf.int32),
    }
    found = mixing.mix_images(tf.constant(images), tf.gather(images, order), drawn)
    np.testing.assert_array_equal(found, np.round(mixed))
    np.testing.assert_array_equal(
        mixing.mix_targets(tf.constant(targets), tf.gather(targets, order), drawn),
        layer._update_labels(tf.constant(targets), ratios, order),
    )


@pytest.mark.parametrize("ratio", [0.1, 0.6, 0.9])
def test_cutmix(monkeypatch, ratio):
    """Given the same box and partners; ours has one box for a batch.

    The weights of the targets are equal where the box lies inside of the picture: KerasCV counts
    what lies outside too, timm (and ours) counts the pixels that came from the partner.
    """
    tf.random.set_seed(3)
    images, targets = batch()
    layer = with_ratio(keras_cv.layers.CutMix(), ratio, monkeypatch)
    cut, ratios, order, y, x, width, height = layer._cutmix(tf.constant(images, tf.float32))
    middle, size = np.stack([y, x], axis=1), np.stack([height, width], axis=1)
    begin, end = middle - size // 2, middle + (size + 1) // 2
    box = np.concatenate([np.clip(begin, 0, 32), np.clip(end, 0, 32)], axis=1)
    remains = 1 - np.prod(box[:, 2:] - box[:, :2], axis=1) / (32 * 32)
    drawn = {
        "mix_pixels": tf.ones((16,)),
        "mix_targets": tf.constant(remains, tf.float32),
        "mix_box": tf.constant(box, tf.int32),
    }
    found = mixing.mix_images(tf.constant(images), tf.gather(images, order), drawn)
    np.testing.assert_array_equal(found, cut)
    is_inside = (begin >= 0).all(axis=1) & (end <= 32).all(axis=1)
    expected = layer._update_labels(tf.constant(targets), ratios, order).numpy()
    mixed = mixing.mix_targets(tf.constant(targets), tf.gather(targets, order), drawn).numpy()
    np.testing.assert_allclose(mixed[is_inside], expected[is_inside], atol=1e-6)
