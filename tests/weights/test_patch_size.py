from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from std_keras.weights.patch_size import resampled_stem


def stem(images, kernel):
    side = kernel.shape[0]
    return tf.nn.conv2d(images, kernel, side, "VALID").numpy()


@pytest.mark.parametrize(("before", "after"), [(4, 8), (2, 6), (4, 2), (4, 6), (3, 2), (4, 4)])
def test_the_new_stem_sees_the_picture_scaled_by_area(before, after):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(before, before, 3, 5)).astype(np.float32)
    images = rng.uniform(size=(2, 3 * after, 3 * after, 3)).astype(np.float32)
    scaled = tf.image.resize(images, (3 * before, 3 * before), "area")
    expected = stem(scaled, kernel)
    assert expected.std() > 0.1
    np.testing.assert_allclose(stem(images, resampled_stem(kernel, after)), expected, atol=1e-5)
