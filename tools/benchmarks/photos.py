"""Photographs to measure with: squares cut from the two that scikit-learn carries."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def squares(count: int, size: int) -> np.ndarray:
    """(count, size, size, 3) uint8: squares of 40 % to 100 % of a photograph's height, scaled."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    pictures = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    rng = np.random.default_rng(0)
    result = np.empty((count, size, size, 3), np.uint8)
    for i in range(count):
        picture = pictures[i % len(pictures)]
        side = int(rng.uniform(0.4, 1.0) * picture.height)
        left = int(rng.integers(picture.width - side + 1))
        top = int(rng.integers(picture.height - side + 1))
        square = picture.crop((left, top, left + side, top + side))
        result[i] = np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))
    return result


def write_jpegs(images: np.ndarray, folder: Path) -> list[str]:
    """Writes images (n, H, W, 3) as JPEG files of quality 90; returns their paths."""
    from PIL import Image

    paths = []
    for i, pixels in enumerate(images):
        path = folder / f"{i:05d}.jpg"
        Image.fromarray(pixels).save(path, quality=90)
        paths.append(str(path))
    return paths
