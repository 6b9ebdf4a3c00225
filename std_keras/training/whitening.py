"""What a whitening stem learns from the training images before the first step."""

from __future__ import annotations

import keras
import numpy as np

from std_keras.data.pipeline import evaluation_batches
from std_keras.data.source import Source
from std_keras.layers import WhitenedConv2D

_IMAGES = 5000  # As Jordan 2024 takes; the second moments of 12 numbers need no more.


def whiten_stems(model: keras.Model, source: Source) -> None:
    """Gives every `WhitenedConv2D` of a model its kernel, from the first 5000 images of a source.

    The same source gives the same kernel. A model without such a layer stays as it is.
    """
    stems = [layer for layer in model.layers if isinstance(layer, WhitenedConv2D)]
    if not stems:
        return
    batch_size = min(500, source.size)
    batches = evaluation_batches(source, batch_size=batch_size)
    parts = []
    for batch in batches.take(max(1, _IMAGES // batch_size)):
        parts.append(batch["images"].numpy()[batch["weights"].numpy() > 0])
    images = np.concatenate(parts)
    for stem in stems:
        enters = keras.Model(model.input, stem.input)
        stem.whiten(np.asarray(enters.predict(images, batch_size=500, verbose=0), np.float32))
