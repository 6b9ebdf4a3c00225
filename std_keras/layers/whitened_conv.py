"""A first convolution that makes the parts of a patch uncorrelated, and does not learn."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


@keras.saving.register_keras_serializable(package="std_keras")
class WhitenedConv2D(keras.layers.Conv2D):
    """Projects every patch on whitened principal components, each with both signs.

    (B, H, W, C) -> (B, H - K + 1, W - K + 1, 2 K K C), as in Jordan 2024, arXiv 2404.00498,
    section 3.2, after Page 2019. The kernel is set by `whiten` and never trained; the bias is.
    Before `whiten` the components are any orthonormal ones.

    Args:
      kernel_size: K, side of a patch in pixels.
      **kwargs: as every layer takes them.
    """

    def __init__(self, kernel_size: int = 2, **kwargs: Any) -> None:
        # The number of filters follows from the input; Keras wants one before it knows that.
        super().__init__(**{"filters": 1, **kwargs, "kernel_size": kernel_size})

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(f"input shape {tuple(input_shape)} must end with a number of channels")
        self.filters = 2 * self.kernel_size[0] * self.kernel_size[1] * channels
        self.kernel_initializer = _BothSigns()
        super().build(input_shape)
        self.kernel.trainable = False

    def whiten(self, images: np.ndarray, *, epsilon: float = 5e-4) -> None:
        """Sets the kernel from images as they enter this layer, (n, H, W, C).

        With the eigenvectors e_i and eigenvalues l_i of the second moments of all patches, the
        filters are e_i / sqrt(l_i + epsilon) and their negatives, the largest eigenvalue first.

        Raises:
          ValueError: the images are smaller than a patch.
        """
        height, width = self.kernel_size
        if images.ndim != 4 or images.shape[1] < height or images.shape[2] < width:
            raise ValueError(f"images of shape {images.shape} hold no patch of {height}x{width}")
        windows = np.lib.stride_tricks.sliding_window_view(images, (height, width), axis=(1, 2))
        # (n, H', W', C, K, K) to rows in the order of a kernel, (K, K, C).
        rows = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, height * width * images.shape[3])
        moments = np.zeros((rows.shape[1], rows.shape[1]))
        for part in np.array_split(rows, max(1, len(rows) // 500_000)):
            part = part.astype(np.float64)
            moments += part.T @ part
        values, vectors = np.linalg.eigh(moments / len(rows))
        filters = (vectors / np.sqrt(np.maximum(values, 0.0) + epsilon))[:, ::-1]
        # Of the two signs of an eigenvector, the one that a library returns is chance.
        filters = filters * np.where(filters.sum(0) < 0, -1.0, 1.0)
        both = np.concatenate([filters, -filters], axis=1)
        self.kernel.assign(both.reshape(self.kernel.shape))

    def get_config(self) -> dict[str, Any]:
        base = keras.layers.Layer.get_config(self)
        return base | {"kernel_size": self.kernel_size[0]}


@keras.saving.register_keras_serializable(package="std_keras")
class _BothSigns(keras.initializers.Initializer):
    """Orthonormal filters, and their negatives after them."""

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        with keras.device("cpu:0"):  # A GPU would load its linear algebra for one small matrix.
            orthogonal = keras.initializers.Orthogonal()((*shape[:-1], shape[-1] // 2), dtype)
        return keras.ops.concatenate([orthogonal, -orthogonal], axis=-1)
