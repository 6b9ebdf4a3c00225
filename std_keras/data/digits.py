"""scikit-learn's embedded digits: 1,797 real 8x8 images, nothing to download."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from std_keras.data.arrays import ArraySource
from std_keras.data.images import resize_and_crop

LABEL_NAMES = tuple("0123456789")


def load_digits(*, image_size: int | None = None) -> tuple[ArraySource, ArraySource]:
    """(train, test): 1,437 and 360 grey images, 8x8 unless `image_size` asks for another size.

    The stratified split is fixed, whatever the seeds. Pixels 0..16 become 0..255.
    """
    from sklearn.datasets import load_digits as load_raw
    from sklearn.model_selection import train_test_split

    raw = load_raw()
    images = np.round(raw.images[..., None] * (255.0 / 16.0)).astype(np.uint8)
    if image_size is not None:
        images = resize_and_crop(tf.constant(images), image_size).numpy()
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, raw.target, test_size=0.2, stratify=raw.target, random_state=0
    )
    return ArraySource(train_images, train_labels), ArraySource(test_images, test_labels)
