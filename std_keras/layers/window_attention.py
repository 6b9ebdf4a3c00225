"""Self-attention inside the windows of a map, which may be shifted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from std_keras.layers.self_attention import SelfAttention

# Added to the score of two patches that are not neighbours; as in the authors' code.
_MASKED = -100.0


@keras.saving.register_keras_serializable(package="std_keras")
class WindowAttention(keras.layers.Layer):
    """Self-attention inside windows: (B, H, W, N) -> (B, H, W, N).

    Swin (Liu et al. 2021, arXiv 2103.14030, section 3.2): the map is cut into windows; scores have
    a learned bias per head that depends on the relative position of two patches. With a shift, the
    windows lie so much further down and to the right, cyclically, and patches that only the
    wrapping brought together do not see each other. On a side that is no longer than the window,
    the window is the side and is not shifted, as in timm.

    Args:
      num_heads: divides N.
      window_size: side of a window in patches; divides the sides that are longer.
      shift: in patches, below `window_size`; 0 for none.
    """

    def __init__(self, num_heads: int, window_size: int, shift: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if window_size < 1 or not 0 <= shift < window_size:
            raise ValueError(
                f"window_size={window_size} must be at least 1, and shift={shift} at least 0 and "
                "below it"
            )
        self.num_heads = num_heads
        self.window_size = window_size
        self.shift = shift

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        _, height, width, channels = input_shape
        if height is None or width is None or channels is None:
            raise ValueError(f"input shape {tuple(input_shape)} must be (B, H, W, N), fixed sizes")
        sides = (height, width)
        self.window = (min(self.window_size, height), min(self.window_size, width))
        self.shifts = (
            self.shift if height > self.window_size else 0,
            self.shift if width > self.window_size else 0,
        )
        if height % self.window[0] or width % self.window[1]:
            raise ValueError(
                f"window_size={self.window_size} does not divide the map {height}x{width}"
            )
        rows = self.window[0] * self.window[1]
        self.attention = SelfAttention(self.num_heads, dtype=self.dtype_policy, name="attention")
        self.attention.build((None, rows, channels))
        self.relative_position_bias = self.add_weight(
            name="relative_position_bias",
            shape=((2 * self.window[0] - 1) * (2 * self.window[1] - 1), self.num_heads),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        )
        self._index = relative_position_index(self.window).reshape(-1)
        self._mask = shift_mask(sides, self.window, self.shifts) if any(self.shifts) else None

    def call(self, inputs: Any) -> Any:
        height, width, channels = inputs.shape[1:]
        rows, columns = self.window
        x = _roll(inputs, [-shift for shift in self.shifts])
        x = ops.reshape(x, (-1, height // rows, rows, width // columns, columns, channels))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, rows * columns, channels))
        x = self.attention(x, score_bias=self._score_bias())
        x = ops.reshape(x, (-1, height // rows, width // columns, rows, columns, channels))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height, width, channels))
        return _roll(x, self.shifts)

    def _score_bias(self) -> Any:
        """(1, heads, T, T), or with a shift (windows of a map, heads, T, T)."""
        rows = self.window[0] * self.window[1]
        # Along the second axis: along the first, the gradient would be tf.IndexedSlices.
        bias = ops.take(ops.transpose(self.relative_position_bias), self._index, axis=1)
        bias = ops.reshape(bias, (1, self.num_heads, rows, rows))
        if self._mask is None:
            return bias
        return bias + ops.convert_to_tensor(self._mask[:, None], dtype=bias.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_heads": self.num_heads,
            "window_size": self.window_size,
            "shift": self.shift,
        }


def relative_position_index(window: tuple[int, int]) -> np.ndarray:
    """Row of the bias table for each pair of patches of a window, (T, T) with T patches.

    Rows go through the vertical distance, then the horizontal one, from the most negative on.
    """
    rows, columns = (axis.reshape(-1) for axis in np.indices(window))
    vertical = rows[:, None] - rows[None, :] + window[0] - 1
    horizontal = columns[:, None] - columns[None, :] + window[1] - 1
    return (vertical * (2 * window[1] - 1) + horizontal).astype("int32")


def shift_mask(
    sides: tuple[int, int], window: tuple[int, int], shifts: tuple[int, int]
) -> np.ndarray:
    """What is added to the scores of a shifted map, (windows, T, T): 0 or -100.

    After the cyclic shift, the last window of an axis holds patches of both ends of the map.
    """
    ends = [
        np.arange(side) >= side - shift if shift else np.zeros(side, bool)
        for side, shift in zip(sides, shifts, strict=True)
    ]
    regions = 2 * ends[0][:, None] + ends[1][None, :]
    regions = regions.reshape(sides[0] // window[0], window[0], sides[1] // window[1], window[1])
    regions = regions.transpose(0, 2, 1, 3).reshape(-1, window[0] * window[1])
    return np.where(regions[:, :, None] == regions[:, None, :], 0.0, _MASKED).astype("float32")


def _roll(x: Any, shifts: Sequence[int]) -> Any:
    """Cyclic shift of height and width by slices, since TFLite has no operator for it."""
    rows, columns = shifts
    if rows:
        x = ops.concatenate([x[:, -rows:], x[:, :-rows]], axis=1)
    if columns:
        x = ops.concatenate([x[:, :, -columns:], x[:, :, :-columns]], axis=2)
    return x
