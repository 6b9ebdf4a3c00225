"""The stem of a model that cuts images into patches, for patches of another size."""

from __future__ import annotations

import numpy as np


def resampled_stem(kernel: np.ndarray, patch_size: int) -> np.ndarray:
    """The kernel that sees a patch as the old one sees the patch scaled to the old size.

    What is scaled is the picture, by area (every old pixel is the mean of what it covers). As that
    is linear, it can be part of the kernel, as in FlexiViT (Beyer et al. 2023, arXiv 2212.08013,
    which scales bilinearly). So a model of the same number of patches, for images K times as large
    and patches K times as large, gives exactly the old model's outputs on the images scaled down.

    Args:
        kernel: (p, p, C, N).
        patch_size: p', the new side.

    Returns:
        (p', p', C, N).
    """
    scale = _area_means(kernel.shape[0], patch_size)
    return np.einsum("ia,jb,ijcn->abcn", scale, scale, kernel).astype(kernel.dtype)


def _area_means(before: int, after: int) -> np.ndarray:
    """Weights (before, after): each old pixel as a mean of the new ones that it covers."""
    # In units in which an old pixel has the length `after`, a new one `before`.
    old, new = np.arange(before)[:, np.newaxis] * after, np.arange(after) * before
    overlap = np.minimum(old + after, new + before) - np.maximum(old, new)
    return np.maximum(overlap, 0) / after
