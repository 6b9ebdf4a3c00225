"""A preparation of pixels as a layer, against the function that it comes from."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from std_keras.teachers import INPUT_RANGES
from std_keras.teachers.pixel_scale import scaling_layer

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3)).astype(np.float32)
PREPARATIONS = {
    **{name: scale for name, scale in INPUT_RANGES.items() if name != "byte"},
    "caffe: BGR": keras.applications.resnet50.preprocess_input,
    "torch": keras.applications.densenet.preprocess_input,
    "tf": keras.applications.mobilenet_v2.preprocess_input,
}


@pytest.mark.parametrize("name", PREPARATIONS)
def test_the_layer_does_what_the_function_does(name):
    scale = PREPARATIONS[name]
    layer = scaling_layer(scale, channels=3)
    assert not layer.trainable_weights
    expected = scale(tf.constant(PIXELS))
    np.testing.assert_allclose(layer(PIXELS), expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("scale", [lambda v: v, keras.applications.efficientnet.preprocess_input])
def test_no_layer_for_pixels_as_they_are(scale):
    assert scaling_layer(scale, channels=3) is None


@pytest.mark.parametrize("scale", [tf.math.sqrt, lambda v: v - tf.reduce_mean(v)])
def test_what_is_not_linear_is_refused(scale):
    with pytest.raises(ValueError, match="not a scale and an offset"):
        scaling_layer(scale, channels=3)
