"""Turns a prepared TFDS image-classification set into sources."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from std_keras.data.arrays import ArraySource
from std_keras.data.decoded_images import NOT_KEPT, DecodedImages
from std_keras.data.listed import LOOKED_AT, short_sides
from std_keras.data.loaded import Loaded, TestPart
from std_keras.data.records import RecordArraySource, RecordFile, RecordSource
from std_keras.data.source import Progress, Source, no_progress
from std_keras.data.tfds_prepared import prepared_builder, quiet_tfds
from std_keras.errors import InputError

_Read = TypeVar("_Read")


def load_tfds(
    name: str,
    *,
    data_dir: str | None,
    image_size: int | None,
    cache_bytes: float,
    eval_crop_ratio: float = 1.0,
    whole_pictures: bool = False,
    test_part: TestPart,
    test_only: bool = False,
    kept_images: DecodedImages = NOT_KEPT,
    progress: Progress = no_progress,
) -> Loaded:
    """A prepared set; its test part is its `validation` if it has no test, else `test_part`.

    The parts are decoded into memory if that takes at most `cache_bytes`, else streamed. With
    `whole_pictures`, train is held in memory as it is in its files, if they take at most that. The
    squares of test pictures have `eval_crop_ratio` of the short side. With `test_only` train is
    streamed, for nobody will read it, if it is not needed to find the test part. What is decoded
    is kept in `kept_images` for the next time.

    Raises:
        InputError: if it is not there, is not made of images with one label, lacks a part, or
            needs an `image_size`.
    """
    info = prepared_builder(name, data_dir=data_dir).info
    image_key, label_key = _supervised_keys(name, info)
    image_shape = _image_shape(name, info.features[image_key], image_size)
    parse = _parser(info.features, image_key, label_key)
    peek = _parser(info.features, image_key, label_key, encoded=True)

    def part(split: str) -> RecordSource:
        ratio = 1.0 if split == "train" else eval_crop_ratio
        files = _files(name, info, split)
        return RecordSource(files, parse, image_shape=image_shape, crop_ratio=ratio, peek=peek)

    if "train" not in info.splits:
        raise InputError(
            f"dataset={name}: has no train split, only {', '.join(sorted(info.splits))}"
        )
    train = part("train")
    flag = f"dataset={name}"
    found = next((s for s in ("test", "validation") if _has_labels(part, s, info)), None)
    names = label_names(name, info)
    sides = _short_sides(train, info.features[image_key].shape, image_size)
    height, width, channels = image_shape
    files_fit = sum(file.bytes for file in train.files) <= cache_bytes

    def held(source: RecordSource | RecordArraySource) -> Source:
        if not fits:
            return source
        pictures = functools.partial(_pictures, source, name=name, cache_bytes=cache_bytes)

        def decoded() -> dict[str, np.ndarray]:
            images, labels = _decoded(source, info, progress=progress)
            return {"images": images, "labels": labels}

        if isinstance(source, RecordSource):
            arrays = kept_images.get(
                decoded,
                files=[file.path for file in source.files],
                pixels=source.size * height * width * channels,
                asked={
                    "records": [repr(info.features[key]) for key in (image_key, label_key)],
                    "examples": [file.examples for file in source.files],
                    "keys": [image_key, label_key],
                    "shape": list(image_shape),
                    "crop": source.crop_ratio,
                },
            )
        else:
            arrays = decoded()
        return ArraySource(arrays["images"], arrays["labels"], pictures=pictures if sides else None)

    if found is not None:
        test_part.refuse_other(flag, f"its {found} split")
        test = part(found)
        size = test.size if test_only else train.size + test.size
        fits = size * height * width * channels <= cache_bytes
        kept: Source = train
        if test_only:
            pass
        elif not whole_pictures:
            kept = held(train)
        elif files_fit:
            kept = _undamaged(train.in_memory, train, info)
        origins = {"train": "the train split", "test": f"the {found} split"}
        return Loaded(names, kept, held(test), origins, sides=sides)

    test_part.require(
        flag, f"has no labelled test or validation split, only {', '.join(sorted(info.splits))}"
    )
    fits = train.size * height * width * channels <= cache_bytes
    whole = _undamaged(train.in_memory, train, info) if files_fit else train
    rest, cut = whole, whole
    origins = {"train": "the train split", "test": "the train split, all of it"}
    if not test_part.whole:
        rest, cut = whole.split(
            fraction=test_part.fraction, seed=test_part.seed, flag="test_fraction"
        )
        of = "each class" if files_fit else "the files"
        origins = {
            "train": "the rest of the train split",
            "test": test_part.origin("the train split", of=of),
        }
    test_source = held(cut.with_crop_ratio(eval_crop_ratio))
    kept = rest if whole_pictures else held(rest)
    return Loaded(names, kept, test_source, origins, sides=sides)


def _short_sides(
    source: RecordSource, shape: Sequence[int | None], image_size: int | None
) -> tuple[int, ...]:
    """Of pictures of one size that one; else of the first ones of train, as their headers say."""
    if image_size is None:
        return ()
    height, width = shape[:2]
    if height is not None and width is not None:
        return () if height == width == image_size else (min(height, width),)
    assert source.peek is not None
    records = source.sequential(batch_size=1).unbatch().take(LOOKED_AT)
    peek = tf.autograph.experimental.do_not_convert(source.peek)
    encoded = [image for image, _ in records.map(peek).as_numpy_iterator()]
    return short_sides([io.BytesIO(image) for image in encoded])


def _pictures(
    source: RecordSource | RecordArraySource, *, name: str, cache_bytes: float
) -> RecordArraySource:
    """The same examples with their whole pictures, in memory as they are in the files."""
    if isinstance(source, RecordArraySource):
        return source
    encoded = sum(file.bytes for file in source.files)
    if encoded > cache_bytes:
        raise InputError(
            f"cache_gb={cache_bytes / 2**30:g}: the whole pictures of dataset={name} are needed, "
            "for a teacher that looks at larger ones than the student or for the squares of a "
            f"held-out part, and take {encoded / 2**30:.3g} GiB as they are in their files; raise "
            "it to that, or use a teacher of the student's size"
        )
    return source.in_memory()


def label_names(name: str, info: Any) -> tuple[str, ...]:
    """Class names in the order of the labels.

    Args:
        name: of the data set, for errors.
        info: TFDS' metadata of it.

    Raises:
        InputError: if it is not made of images with one label.
    """
    _, label_key = _supervised_keys(name, info)
    return tuple(str(label) for label in info.features[label_key].names)


def _supervised_keys(name: str, info: Any) -> tuple[str, str]:
    with quiet_tfds() as tfds:
        keys = info.supervised_keys
        if keys and len(keys) == 2 and all(isinstance(key, str) for key in keys):
            image, label = (info.features[key] for key in keys)
            is_image = isinstance(image, tfds.features.Image)
            if is_image and isinstance(label, tfds.features.ClassLabel):
                return keys[0], keys[1]
    raise InputError(
        f"dataset={name}: not an image-classification set: it has no (image, label) pair of "
        f"supervised keys, only {', '.join(sorted(info.features))}"
    )


def _image_shape(name: str, feature: Any, image_size: int | None) -> tuple[int, int, int]:
    if feature.dtype not in (tf.uint8, tf.uint8.as_numpy_dtype):
        raise InputError(f"dataset={name}: its images are {feature.dtype}, not uint8")
    height, width, channels = feature.shape
    channels = channels or 3
    if image_size:
        return image_size, image_size, channels
    if height is None or width is None:
        raise InputError(
            f"`image_size` is needed for dataset={name}, whose images differ in size, e.g. "
            "image_size=224"
        )
    return height, width, channels


def _parser(features: Any, image_key: str, label_key: str, *, encoded: bool = False) -> Any:
    """Record () to (image, label); other features, such as boxes, are not even parsed.

    With `encoded` the image is a string, as it is in the record.
    """
    with quiet_tfds() as tfds:
        decoders = {image_key: tfds.decode.SkipDecoding()} if encoded else None
        wanted = tfds.decode.PartialDecoding({image_key: True, label_key: True})
        features = wanted.extract_features(features)

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = features.deserialize_example(record, decoders=decoders)
        return example[image_key], example[label_key]

    return parse


def _files(name: str, info: Any, split: str) -> list[RecordFile]:
    file_format = info.file_format.value
    if file_format != "tfrecord":
        raise InputError(
            f"dataset={name}: the prepared files are {file_format}, and only tfrecord can be "
            "read; prepare the set again with `tfds.load(..., "
            "builder_kwargs={'file_format': 'tfrecord'})`"
        )
    files = []
    split_info = info.splits[split]
    for path, examples in zip(split_info.filepaths, split_info.shard_lengths, strict=True):
        path = os.fspath(path)
        if not tf.io.gfile.exists(path):
            raise InputError(
                f"dataset={name}: the file {path} is missing; delete its folder and prepare "
                "the set again"
            )
        if os.path.exists(path) and not os.path.isfile(path):  # TensorFlow would wait for a pipe.
            raise InputError(
                f"dataset={name}: {path} is a pipe, a device or a folder; delete its folder and "
                "prepare the set again"
            )
        files.append(RecordFile(path, int(examples), int(tf.io.gfile.stat(path).length)))
    return files


def _has_labels(part: Any, split: str, info: Any) -> bool:
    """False for the test part of a challenge, whose labels are secret and stored as -1."""
    if split not in info.splits or not info.splits[split].num_examples:
        return False
    return int(_decoded(part(split), info, n=1)[1][0]) >= 0


def _decoded(
    source: RecordSource | RecordArraySource,
    info: Any,
    *,
    n: int | None = None,
    progress: Progress = no_progress,
) -> tuple[np.ndarray, np.ndarray]:
    """`source.take`, see `_undamaged`."""

    def take() -> tuple[np.ndarray, np.ndarray]:
        return source.take(n, progress=progress, what=f"decoding {info.name} images")

    return _undamaged(take, source, info)


def _undamaged(
    read: Callable[[], _Read], source: RecordSource | RecordArraySource, info: Any
) -> _Read:
    """What `read` returns, with a sentence for files that are cut off or hold other things."""
    try:
        return read()
    except (tf.errors.OpError, ValueError) as error:
        folder = os.path.dirname(source.path)
        raise InputError(
            f"dataset={info.name}: the files in {folder} are damaged; delete that folder and "
            "prepare the set again"
        ) from error
