"""Mixers do not know where a patch is: images shuffled alike, and weights that undo it.

Source: Tolstikhin et al. 2021, "MLP-Mixer", arXiv 2105.01601, section 3.4: trained on images whose
patches, and whose pixels inside of each patch, are permuted in the same way in all images, a Mixer
learns as on the originals; when all pixels are permuted together it does not, and a convnet suffers
from both.

The first is exact, weight by weight: for a permutation π of the patches and τ of the pixels of a
patch, permuting by π what token mixing reads and returns, and by τ what the stem reads, gives a
Mixer that computes on shuffled images what the original computes on the images themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from std_keras.layers import MixerBlock, TokenSet
from std_keras.research.analysis.unsuitable import UnsuitableModelError


@dataclass(frozen=True)
class PatchShuffle:
    """One permutation of patches and pixels, for all images.

    Attributes:
        patch_size: side of a patch in pixels.
        patches: (P,) place i gets the patch that was at `patches[i]`, places row by row.
        pixels: (patch_size²,) the same for the pixels inside every patch.
    """

    patch_size: int
    patches: np.ndarray
    pixels: np.ndarray

    @classmethod
    def draw(cls, *, image_size: int, patch_size: int, seed: int) -> PatchShuffle:
        """A random one for square images."""
        rng = np.random.default_rng(seed)
        count = (image_size // patch_size) ** 2
        return cls(patch_size, rng.permutation(count), rng.permutation(patch_size**2))


def shuffle_patches(images: np.ndarray, shuffle: PatchShuffle) -> np.ndarray:
    """Images (n, H, W, C) with their patches, and the pixels in each, in another order."""
    n, height, width, channels = images.shape
    side = shuffle.patch_size
    rows, columns = height // side, width // side
    patches = images.reshape(n, rows, side, columns, side, channels)
    patches = patches.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows * columns, side**2, channels)
    patches = patches[:, shuffle.patches][:, :, shuffle.pixels]
    patches = patches.reshape(n, rows, columns, side, side, channels)
    return patches.transpose(0, 1, 3, 2, 4, 5).reshape(images.shape)


def shuffle_pixels(images: np.ndarray, *, seed: int) -> np.ndarray:
    """Images (n, H, W, C) with all pixels in another order, the same for all images."""
    n, height, width, channels = images.shape
    order = np.random.default_rng(seed).permutation(height * width)
    return images.reshape(n, height * width, channels)[:, order].reshape(images.shape)


def mixer_patch_size(model: keras.Model) -> int:
    """Side of the patches of a Mixer or a student around one.

    Raises:
        UnsuitableModelError: the model is not a Mixer.
    """
    blocks = [layer for layer in model.layers if layer.name.startswith("block_")]
    if not blocks or not all(isinstance(block, MixerBlock) for block in blocks):
        raise UnsuitableModelError(
            f"the model {model.name} is not an MLP-Mixer; weights can be permuted for "
            "Mixers and their students only"
        )
    return int(model.get_layer("stem").kernel.shape[0])


def permuted_weights(model: keras.Model, shuffle: PatchShuffle) -> keras.Model:
    """A copy that computes on shuffled images what the model computes on the originals.

    Args:
        model: a Mixer or a student around one; it is left as it is.
        shuffle: of the images.

    Raises:
        UnsuitableModelError: the model is not a Mixer.
    """
    mixer_patch_size(model)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    patches, pixels = shuffle.patches, shuffle.pixels
    stem = copy.get_layer("stem").kernel
    flat = stem.numpy().reshape(len(pixels), *stem.shape[2:])
    stem.assign(flat[pixels].reshape(stem.shape))
    for layer in copy.layers:
        if isinstance(layer, MixerBlock):
            mlp = layer.token_mlp
            mlp.hidden_dense.kernel.assign(mlp.hidden_dense.kernel.numpy()[patches])
            mlp.output_dense.kernel.assign(mlp.output_dense.kernel.numpy()[:, patches])
            mlp.output_dense.bias.assign(mlp.output_dense.bias.numpy()[patches])
        elif isinstance(layer, TokenSet):
            _permute_token_set(copy, layer, patches)
    return copy


def _permute_token_set(model: keras.Model, layer: TokenSet, patches: np.ndarray) -> None:
    """The rows that it reads, its channel token, and what its head reads of that."""
    if "spatial" in layer.token_names:
        rows = np.append(patches, len(patches))  # The token is the last row.
        for mlp in layer.spatial_mlps:
            mlp.hidden_dense.kernel.assign(mlp.hidden_dense.kernel.numpy()[rows])
    if "channel" not in layer.token_names:
        return
    if layer.own_tokens:
        layer.channel_token.assign(layer.channel_token.numpy()[patches])
    head = layer.name.replace("tokens", "distillation")
    if any(other.name == head for other in model.layers):
        kernel = model.get_layer(head).kernel
        values = kernel.numpy()
        start = len(values) - len(patches)
        values[start:] = values[start:][patches]
        kernel.assign(values)
