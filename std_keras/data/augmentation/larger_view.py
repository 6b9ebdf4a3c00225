"""What was drawn for an image, in the pixels of a larger view of it.

Places, sides and shifts grow in proportion, to the nearest pixel. What has no size in the picture
(a flip, an angle, a colour, the weights of mixing) stays.
"""

from __future__ import annotations

import tensorflow as tf

from std_keras.data.augmentation.operations import Operation


def scaled_padding(padding: int, *, image_size: int, size: int) -> int:
    """The padding that holds every scaled shift of a padded crop."""
    return -(-padding * size // image_size)


def scaled_parameters(
    parameters: dict[str, tf.Tensor],
    *,
    padding: int,
    whole_shifts: bool,
    image_size: int,
    size: int,
) -> dict[str, tf.Tensor]:
    """The parameters of `Augmentation.draw` for views of another size.

    Args:
        parameters: drawn for images of side `image_size`.
        padding: of the padded crop there.
        whole_shifts: whether operations move by whole pixels.
        image_size: side of the images.
        size: side of the views.
    """

    def scaled(pixels: tf.Tensor) -> tf.Tensor:
        return (2 * size * pixels + image_size) // (2 * image_size)

    found = dict(parameters)
    for name in ("corner", "second_corner"):
        if name in found:
            around = scaled_padding(padding, image_size=image_size, size=size)
            found[name] = around + scaled(found[name] - padding)
    if "operations" in found:
        moves = (found["operations"] == Operation.TRANSLATE_X) | (
            found["operations"] == Operation.TRANSLATE_Y
        )
        shifts = found["arguments"] * (size / image_size)
        if whole_shifts:
            shifts = tf.floor(shifts + 0.5)
        found["arguments"] = tf.where(moves, shifts, found["arguments"])
    if "erase_boxes" in found:
        begin, extent = found["erase_boxes"][..., :2], found["erase_boxes"][..., 2:]
        end = scaled(begin + extent)
        begin = scaled(begin)
        found["erase_boxes"] = tf.concat([begin, end - begin], axis=-1)
    if "mix_box" in found:
        found["mix_box"] = scaled(found["mix_box"])
    return found
