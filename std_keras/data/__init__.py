"""Images and labels: from a name to batches that are a pure function of (data seed, step).

`load` finds a data set, `training_batches` and `evaluation_batches` turn its parts into the
batches that the loop and the evaluation consume. Images stay uint8 throughout; normalisation
belongs to the models.
"""

from __future__ import annotations

from std_keras.data.augmentation import Augmentation
from std_keras.data.dataset import DataSet, load
from std_keras.data.pipeline import Shard, evaluation_batches, training_batches
from std_keras.data.source import Source

__all__ = [
    "Augmentation",
    "DataSet",
    "Shard",
    "Source",
    "evaluation_batches",
    "load",
    "training_batches",
]
