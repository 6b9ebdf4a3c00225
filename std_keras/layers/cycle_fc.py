"""A dense layer whose input channels come from neighbouring positions in turn."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

AXES = ("height", "width")


@keras.saving.register_keras_serializable(package="std_keras")
class CycleFC(keras.layers.Dense):
    """A dense layer that reads channel i from a neighbour: (B, H, W, N) -> (B, H, W, units).

    Along the width: y[h, w, o] = bias[o] + sum_i kernel[i, o] x[h, w + d_i, i], where the step d_i
    runs through a cycle, 0, 1, -1, 0, 1, -1, ... for a kernel size of 3; in general
    d_i = (i + K // 2) mod K - K // 2. Positions outside of the image are zero. The same applies
    along the height (Chen et al. 2022, CycleMLP, arXiv 2107.10224, section 3.2; the phase of the
    cycle is that of the authors' code, with which weights were trained). It has the weights of a
    dense layer, and nothing else.

    The authors call a deformable convolution. Here a depthwise convolution with a fixed kernel of
    zeros and ones moves the channels, which gives the same numbers. Of the exact forms it is the
    fastest in training and in TFLite. Times relative to a dense layer alone, over the shapes of
    CycleMLP-B1's stages at 224 px (measured on two shared x86 cores with TensorFlow 2.21; a
    training step of eight images; one thread in TFLite):

    | form | training step | TFLite float32 | TFLite int8 |
    |---|---|---|---|
    | depthwise convolution | 1.1 to 1.5 | 0.9 to 1.0 | 1.1 to 1.4 |
    | dense convolution with zeros in its kernel | 2.0 to 3.9 | 2.3 to 3.4 | 1.6 to 2.6 |
    | selection among shifted copies | 1.4 to 2.7 | 1.3 to 3.0 | 1.5 to 3.1 |
    | sum of shifted copies times masks | 1.3 to 2.4 | 1.3 to 3.4 | 1.8 to 5.9 |
    | strided slices, shifted; rows sorted alike | 2.7 to 6.2 | 1.7 to 5.4 | 3.2 to 8.6 |
    | strided slices, shifted, interleaved again | 2.8 to 9.3 | 2.1 to 7.7 | 4.1 to 11.8 |

    XLA on a CPU is the exception: there the depthwise convolution takes 8 to 30 times a dense
    layer, and the selection 1.1 to 1.3.

    Args:
      units: channels of the result.
      axis: along which the steps go, "height" or "width".
      kernel_size: K, length of the cycle; odd.
      **kwargs: of `keras.layers.Dense`.
    """

    def __init__(self, units: int, axis: str, kernel_size: int = 3, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        if axis not in AXES:
            raise ValueError(f"axis={axis!r} is not one of {', '.join(AXES)}")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size} must be odd and positive")
        self.axis = axis
        self.kernel_size = kernel_size

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if len(input_shape) != 4 or input_shape[-1] is None:
            raise ValueError(f"input shape {tuple(input_shape)} must be (B, H, W, N) with fixed N")
        super().build(input_shape)
        channels = np.arange(input_shape[-1])
        # Tap t of a convolution with padding "same" reads the position t - K // 2.
        taps = np.zeros((self.kernel_size, channels.size), "float32")
        taps[(channels + self.kernel_size // 2) % self.kernel_size, channels] = 1.0
        # A constant and no weight: neither trained nor saved.
        self.shift_kernel = np.expand_dims(taps, (1 if self.axis == "height" else 0, 3))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        kernel = ops.convert_to_tensor(self.shift_kernel, dtype=inputs.dtype)
        shifted = ops.depthwise_conv(inputs, kernel, padding="same", data_format="channels_last")
        return super().call(shifted, training=training)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axis": self.axis, "kernel_size": self.kernel_size}
