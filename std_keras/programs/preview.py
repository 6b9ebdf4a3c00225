"""Draws a contact sheet of a few images under each augmentation preset, as one PNG.

Usage: std-keras preview --images=DIR --output=FILE.png
The first row shows the images, cropped as for evaluation; each following row is one step of a
preset, followed by what a teacher with a larger input sees of it. Images are taken from all
subfolders in turn.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from std_keras import progress
from std_keras.config import TrainConfig, options, resolve
from std_keras.config import augmentation_presets as presets
from std_keras.config.option import AUGMENTATION, COUNT, DATA, RUN, Option
from std_keras.errors import InputError
from std_keras.files.output_folder import check_output_file
from std_keras.files.paths import user_path
from std_keras.files.picture_folder import list_pictures
from std_keras.programs import flags, shared_options
from std_keras.programs.program import StopRequest
from std_keras.runs.run_directory import replace_atomically

_OPTIONS = {
    "images": Option(topic=DATA, help="Directory with images, at any depth.", kind=str),
    "output": Option(topic=RUN, help="The PNG file to write.", kind=str),
    "augmentation": Option(
        topic=AUGMENTATION,
        help="The preset to show.",
        kind=str,
        choices=("all", *presets.NAMES),
    ),
    "image_size": shared_options.saying(
        shared_options.IMAGE_SIZE, "Side of the training images in pixels."
    ),
    "teacher": shared_options.saying(
        options()["teacher"],
        "SOURCE[,size=N]: also draw what this teacher sees of the same crops; may be repeated.",
    ),
    "columns": Option(topic=RUN, help="Number of images.", kind=int, **COUNT),
    "steps": Option(topic=RUN, help="Rows per preset.", kind=int, **COUNT),
    "scale": Option(
        topic=RUN, help="Draw every pixel as a square of this side.", kind=int, **COUNT
    ),
    "data_seed": shared_options.saying(options()["data_seed"], "Seed of the augmentation."),
}
_DEFAULTS = {
    "augmentation": "all",
    "image_size": 128,
    "columns": 8,
    "steps": 3,
    "scale": 1,
    "data_seed": 0,
}
_GAP, _LINE = 4, 18  # Pixels between images, and the height of a line of text.
_LARGEST = 200_000_000  # Pixels of a sheet: 600 MB while it is drawn.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags and writes the sheet."""
    parsed = flags.parse(
        arguments,
        program="std-keras preview",
        about="Draws a contact sheet of a few images under each augmentation preset.",
        options=_OPTIONS,
        defaults=_DEFAULTS,
        required=("images", "output"),
    )
    if Path(parsed["output"]).suffix.lower() != ".png":
        raise InputError(f"--output={parsed['output']} must end in .png")
    chosen = presets.NAMES if parsed["augmentation"] == "all" else (parsed["augmentation"],)
    rows = 1 + parsed["steps"] * len(chosen)
    side = parsed["scale"] * parsed["image_size"]
    _refuse_a_large_sheet(_size(rows, parsed["columns"], side), parsed)
    paths = _choose(user_path(parsed["images"]), parsed["columns"])
    output = user_path(parsed["output"])
    check_output_file(output, name="output")

    from std_keras import quiet

    quiet.load_tensorflow()
    import tensorflow as tf

    try:
        drawn = _rows(paths, chosen, parsed)
    except tf.errors.InvalidArgumentError as error:
        raise InputError(
            f"--images={parsed['images']}: one of {', '.join(paths)} cannot be decoded"
        ) from error
    _draw(drawn, scale=parsed["scale"], output=output)
    progress.say(f"{parsed['output']}: {len(drawn)} rows of {len(paths)} photographs")


def _choose(folder: Path, count: int) -> list[str]:
    """The first image of each folder that has some, then the second ones, and so on."""
    if not folder.is_dir():
        raise InputError(f"--images={folder}: no such directory")
    found = list_pictures(str(folder))
    groups: dict[str, list[str]] = {}
    for path in found.pictures:
        groups.setdefault(os.path.dirname(path), []).append(path)
    turns = [group[i] for i in range(count) for group in groups.values() if i < len(group)]
    if not turns:
        raise InputError(f"--images={folder}: there are no pictures in it")
    if count < 2:
        raise InputError(f"--columns={count}: mixup and CutMix need at least 2 pictures")
    if len(turns) < count:
        raise InputError(f"--columns={count}: --images={folder} has {len(turns)} picture(s) only")
    return turns[:count]


def _size(rows: int, columns: int, side: int) -> tuple[int, int]:
    """Width and height of a sheet in pixels."""
    return _GAP + columns * (side + _GAP), rows * (_LINE + side + _GAP)


def _refuse_a_large_sheet(size: tuple[int, int], parsed: dict[str, Any]) -> None:
    width, height = size
    if width * height > _LARGEST:
        raise InputError(
            f"--scale={parsed['scale']}: the sheet would have {width} x {height} pixels, and at "
            f"most {_LARGEST / 1e6:.0f} million can be drawn; use a smaller --scale or "
            "--image_size, fewer --columns or --steps"
        )


def _rows(paths: list[str], names: Sequence[str], parsed: dict[str, Any]) -> list[tuple[str, Any]]:
    """(title, images (n, H, W, 3)) of each row."""
    import numpy as np
    import tensorflow as tf

    from std_keras import teachers
    from std_keras.data import DataSet
    from std_keras.data.files import FileSource
    from std_keras.data.listed import short_sides
    from std_keras.training.augmentation import create_augmentation
    from std_keras.training.teacher_views import larger, view_size

    size, count = parsed["image_size"], len(paths)
    labels = np.zeros((count,), int)
    raw = tf.range(count, dtype=tf.int64)
    rows: list[tuple[str, Any]] = []
    for name in names:
        config = resolve(TrainConfig(augmentation=name), image_size=size, horizontal_flip=True)
        assert config.augmentation.eval_crop_ratio is not None
        source = FileSource(paths, labels, image_size=size)
        dataset = DataSet(
            name="photographs",
            label_names=("photographs",),
            image_shape=source.image_shape,
            train=source,
            validation=None,
            test=source,
            horizontal_flip=True,
            mean=_MEAN,
            std=_STD,
            sides=short_sides(paths),
        )
        seen = [view_size(teachers.parse(text), dataset) for text in parsed["teacher"]]
        sizes = (size, *larger(seen, dataset))
        recipe = create_augmentation(
            config.augmentation, dataset, batch_size=config.optimization.batch_size
        )
        if not rows:
            rows.append(("photographs, cropped at the centre", source.decode(raw)[0].numpy()))
        for step in range(parsed["steps"]):
            drawn = recipe.draw(
                batch_size=count, seed=parsed["data_seed"], step=step, image_shape=(size, size, 3)
            )
            views, _ = recipe.decode_views(source, raw, drawn, sizes)
            for side, images in zip(sizes, views, strict=True):
                own, parameters = recipe.at_size(drawn, image_size=size, size=side)
                images = own.apply(images, parameters)
                partners = own.partners(count)
                if partners is not None:
                    images = own.mix_images(images, tf.gather(images, partners), parameters)
                who = "" if side == size else f", as a teacher sees it: {side}x{side} pixels"
                rows.append((f"{name}, step {step}{who}", images.numpy()))
    return rows


def _draw(rows: list[tuple[str, Any]], *, scale: int, output: Path) -> None:
    from PIL import Image, ImageDraw

    side = scale * max(images.shape[1] for _, images in rows)
    sheet = Image.new("RGB", _size(len(rows), len(rows[0][1]), side), "white")
    write = ImageDraw.Draw(sheet)
    for row, (title, images) in enumerate(rows):
        top = row * (_LINE + side + _GAP)
        write.text((_GAP, top + 3), title, fill="black")
        for column, pixels in enumerate(images):
            image = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(image, (_GAP + column * (side + _GAP), top + _LINE))
    output.parent.mkdir(parents=True, exist_ok=True)
    replace_atomically(output, lambda part: sheet.save(part, "PNG"))
