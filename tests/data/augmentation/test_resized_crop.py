"""The random resized crop: boxes as torchvision draws them, pixels as PIL makes them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from PIL import Image

from std_keras.data.augmentation import ResizedCrop
from std_keras.data.images import read_part, resize_box, resize_part


def boxes(height, width, *, n=3000, recipe=None):
    recipe = recipe or ResizedCrop()
    drawn = recipe.draw(batch_size=n, seed=3, step=4)

    def one(row):
        return recipe.box(height, width, row)

    @tf.function
    def every(drawn):
        return tf.map_fn(one, drawn, fn_output_signature=tf.int32)

    return every(drawn).numpy()


def definition(height, width, *, n=3000):
    """torchvision's RandomResizedCrop.get_params in NumPy: height and width of each box."""
    rng = np.random.default_rng(0)
    sides = []
    for _ in range(n):
        for _ in range(10):
            area = height * width * rng.uniform(0.08, 1.0)
            ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
            w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                break
        else:
            w, h = width, height
            if width / height < 3 / 4:
                h = round(w / (3 / 4))
            elif width / height > 4 / 3:
                w = round(h * 4 / 3)
        sides.append((h, w))
    return np.array(sides)


@pytest.mark.parametrize("height, width", [(100, 100), (120, 200), (300, 40)])
def test_boxes_are_distributed_as_defined(height, width):
    drawn = boxes(height, width)
    top, left, h, w = drawn.T
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + h <= height).all() and (left + w <= width).all()
    expected_h, expected_w = definition(height, width).T
    for ours, theirs in ((h * w, expected_h * expected_w), (h, expected_h), (w, expected_w)):
        assert scipy.stats.ks_2samp(ours, theirs).statistic < 0.05
    if width < 100:
        return  # Mostly the central crop, which has one place.
    room = height - h
    wide = room > 9
    assert scipy.stats.kstest((top[wide] + 0.5) / (room[wide] + 1), "uniform").statistic < 0.04


def test_where_nothing_fits_it_is_the_largest_central_crop():
    assert boxes(400, 30, n=5, recipe=ResizedCrop(scale=0.999)).tolist() == [[180, 0, 40, 30]] * 5


def smooth(height, width):
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3)).astype(np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("box", [(3, 5, 20, 17), (0, 0, 90, 110), (10, 20, 40, 80), (0, 0, 32, 32)])
def test_pixels_are_pils_bicubic(box):
    pixels = smooth(90, 110)
    top, left, height, width = box
    cut = Image.fromarray(pixels[top : top + height, left : left + width])
    expected = np.asarray(cut.resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    got = resize_box(tf.constant(pixels), tf.constant(box), 32).numpy()
    assert got.dtype == np.uint8
    # PIL rounds between its two passes.
    assert np.abs(got - expected).max() <= 2


def test_the_fused_decoder_gives_the_same_as_decoding_first(tmp_path):
    path = tmp_path / "a.jpg"
    # Without subsampled colours, which a decoder of a part may interpolate differently at its edge.
    Image.fromarray(smooth(90, 110)).save(path, quality=95, subsampling=0)
    whole = tf.io.decode_jpeg(path.read_bytes(), channels=3)
    for box in ([3, 5, 20, 17], [10, 20, 40, 80]):
        part = read_part(tf.constant(str(path)), 1, lambda h, w, b=box: tf.constant(b))
        expected = resize_box(whole, tf.constant(box), 32).numpy()
        np.testing.assert_array_equal(resize_part(part, 32), expected)
