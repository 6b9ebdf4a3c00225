"""The augmentation recipe, part by part.

`recipe.py` puts the parts together. What is drawn (which operation, how strong, which box) is a
pure function of (data seed, step); what is done to the pixels is a pure function of what was drawn.
"""

from __future__ import annotations

from std_keras.data.augmentation.mixing import Mixing
from std_keras.data.augmentation.rand_augment import RandAugment
from std_keras.data.augmentation.recipe import Augmentation
from std_keras.data.augmentation.resized_crop import ResizedCrop

__all__ = ["Augmentation", "Mixing", "RandAugment", "ResizedCrop"]
