"""A data set by name: its parts, its classes and the facts that go with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from std_keras.data import hf_list
from std_keras.data.decoded_images import decoded_images
from std_keras.data.digits import LABEL_NAMES, load_digits
from std_keras.data.folder import folder_label_names, load_folder
from std_keras.data.loaded import Loaded, TestPart
from std_keras.data.npz_images import is_npz, load_npz
from std_keras.data.picture_list import load_picture_list
from std_keras.data.source import IndexedSource, Progress, Source, no_progress
from std_keras.data.tables import LOOKS, TABLES
from std_keras.data.tfds_prepared import base_name
from std_keras.data.tfds_source import load_tfds
from std_keras.errors import InputError

# Mean and standard deviation per channel, of pixels in 0..1. CIFAR: the values that the published
# ResNets of github.com/chenyaofo/pytorch-cifar-models were trained with. Others: ImageNet's.
_STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761)),
}
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# Sets of characters: a mirrored one is another one, or none.
_CHARACTERS = frozenset(
    (
        "binary_alpha_digits",
        "digits",
        "emnist",
        "kmnist",
        "mnist",
        "mnist_corrupted",
        "omniglot",
        "svhn_cropped",
    )
)


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Labelled images in parts.

    Attributes:
        name: as given to `load`.
        label_names: one per class, in the order of the labels.
        image_shape: (H, W, C) of every image.
        train: what to learn from.
        validation: the held-out part of train, or None; it may choose, the test part may not.
        test: what to report on.
        horizontal_flip: whether a mirrored image keeps its class.
        mean: per channel, of pixels in 0..1.
        std: standard deviation per channel, of pixels in 0..1.
        skipped: files left out because they cannot be decoded.
        origins: where each part came from, in words.
        stratified: whether the held-out part has the same fraction of every class.
        left_out: by ending, how many files in class folders are of a kind that is not read.
        sides: the shorter sides of some of the pictures, in pixels and ascending; none if all
            pictures have the size of the images.
    """

    name: str
    label_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    train: Source
    validation: Source | None
    test: Source
    horizontal_flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    skipped: tuple[str, ...] = ()
    origins: Mapping[str, str] = dataclasses.field(default_factory=dict)
    stratified: bool = True
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    sides: tuple[int, ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.label_names)

    @property
    def picture_side(self) -> int:
        """The largest of the shorter sides of the pictures, of those that were looked at; that of
        the images, if there are no larger pictures."""
        return max((min(self.image_shape[:2]), *self.sides))

    @property
    def sizes(self) -> dict[str, int]:
        """How many examples each part has."""
        held_out = 0 if self.validation is None else self.validation.size
        return {"train": self.train.size, "validation": held_out, "test": self.test.size}


def load(
    name: str,
    *,
    data_dir: str | None = None,
    image_size: int | None = None,
    validation_fraction: float = 0.0,
    data_seed: int = 0,
    stratified: bool = True,
    test_fraction: float = 0.0,
    test_seed: int = 0,
    whole_as_test: bool = False,
    cache_gb: float = 4.0,
    corrupt_images: str = "refuse",
    eval_crop_ratio: float = 1.0,
    whole_pictures: bool = False,
    test_only: bool = False,
    decoded_dir: str = "none",
    progress: Progress | None = None,
) -> DataSet:
    """Loads a data set that is on this machine; downloads nothing.

    Args:
        name: `digits` (embedded in scikit-learn), `folder:PATH` (one folder per class, under
            train/ and val/ or directly), `csv:FILE` (path,label[,split]), `parquet:PATH` (such a
            list, or an image set of the Hugging Face hub), `hf:ORG/NAME` (such a set in the cache
            of its library, see `hf_list`), `FILE.npz`, or a TFDS name such as `cifar100` or
            `imagenette/160px-v2`.
        data_dir: where TFDS sets were prepared; TFDS' own default if None.
        image_size: side of the square images; None keeps the set's own, if it has one. Others are
            resized at the short side and cropped at the centre.
        validation_fraction: in [0, 1), this part of train is held out.
        data_seed: chooses which.
        stratified: hold out the same fraction of every class, see `Source.split`.
        test_fraction: in [0, 1), this part of all images is the test part of a set without one.
        test_seed: chooses which; runs with other data seeds are tested on the same images.
        whole_as_test: use all images of a set without a test part for testing (and training).
        cache_gb: sets up to this size (GiB of decoded pixels, all parts) are held in memory,
            larger ones are read from disk again and again; 0 always reads.
        corrupt_images: `refuse` or `skip` unreadable files (of `folder:` and of tables).
        eval_crop_ratio: in (0, 1], part of the short side that the square of a test or validation
            picture has, where pictures are scaled.
        whole_pictures: keep training pictures as they are (as files, or encoded in memory) until a
            batch needs them, so that random crops can be cut from all of a picture.
        test_only: do not decode train ahead, nor hold a part of it out: only test will be read.
        decoded_dir: a folder that keeps decoded images for the next time; `auto` for one in the
            user's cache folder, `none` for nowhere.
        progress: wraps slow loops, see `Progress`.

    Raises:
        InputError: for anything that cannot be used as it is; the message says why.
    """
    if image_size is not None and image_size < 1:
        raise InputError(f"image_size={image_size}: must be at least 1")
    if not 0.0 <= validation_fraction < 1.0:
        raise InputError(f"validation_fraction={validation_fraction:g}: must be in [0, 1)")
    if not 0.0 <= test_fraction < 1.0:
        raise InputError(f"test_fraction={test_fraction:g}: must be in [0, 1)")
    if not cache_gb >= 0.0:
        raise InputError(f"cache_gb={cache_gb:g}: must be 0 or more")
    if corrupt_images not in ("refuse", "skip"):
        raise InputError(f"corrupt_images={corrupt_images}: must be refuse or skip")
    progress = progress or no_progress
    cache_bytes = cache_gb * 2**30

    test_part = TestPart(fraction=test_fraction, seed=test_seed, whole=whole_as_test)
    word, colon, place = name.partition(":")
    if name == "digits":
        test_part.refuse_other("dataset=digits", "fixed")
        train, test = load_digits(image_size=image_size)
        origins = {"train": "80 % of the digits", "test": "20 % of the digits, fixed, stratified"}
        loaded = Loaded(LABEL_NAMES, train, test, origins)
    elif colon and word in ("folder", *TABLES):
        if not place.strip() and word != hf_list.WORD:
            raise InputError(f"dataset={name} names no path; write dataset={word}:PATH")
        if image_size is None:
            look = folder_label_names if word == "folder" else LOOKS[word]
            look(place)  # What is not there needs no size.
            raise InputError(
                f"`image_size` is needed for {word}: data (dataset={name}), e.g. image_size=224"
            )
        options: dict[str, Any] = {
            "image_size": image_size,
            "cache_bytes": cache_bytes,
            "corrupt_images": corrupt_images,
            "eval_crop_ratio": eval_crop_ratio,
            "whole_pictures": whole_pictures or test_only,
            "test_part": test_part,
            "kept_images": decoded_images(decoded_dir),
            "progress": progress,
        }
        if word == "folder":
            loaded = load_folder(place, **options)
        else:
            loaded = load_picture_list(TABLES[word](place), **options)
    elif is_npz(name):
        loaded = load_npz(
            name, image_size=image_size, eval_crop_ratio=eval_crop_ratio, test_part=test_part
        )
    else:
        loaded = load_tfds(
            name,
            data_dir=data_dir,
            image_size=image_size,
            cache_bytes=cache_bytes,
            eval_crop_ratio=eval_crop_ratio,
            whole_pictures=whole_pictures,
            test_part=test_part,
            test_only=test_only,
            kept_images=decoded_images(decoded_dir),
            progress=progress,
        )
    if validation_fraction and not test_only:
        loaded = _held_out(
            loaded,
            fraction=validation_fraction,
            seed=data_seed,
            stratified=stratified,
            eval_crop_ratio=eval_crop_ratio,
        )
    return _data_set(name, loaded, stratified=stratified)


def _held_out(
    loaded: Loaded, *, fraction: float, seed: int, stratified: bool, eval_crop_ratio: float
) -> Loaded:
    """Holds a validation part out of train; its squares are those of the test part."""
    if loaded.validation is not None:
        raise InputError(
            f"validation_fraction={fraction:g}: the data has a validation part of its own "
            f"({loaded.origins['validation']}); leave it out"
        )
    train, validation = loaded.train.split(fraction=fraction, seed=seed, stratified=stratified)
    if eval_crop_ratio != 1.0:
        validation = validation.with_crop_ratio(eval_crop_ratio)
    of = "all images, whatever their class,"
    if not isinstance(train, IndexedSource):
        of = "the files"
    elif stratified:
        of = "each class"
    origin = f"validation_fraction={fraction:g} of {of} of {loaded.origins['train']}"
    origins = {**loaded.origins, "validation": f"{origin}, data_seed={seed}"}
    return dataclasses.replace(loaded, train=train, validation=validation, origins=origins)


def _data_set(name: str, loaded: Loaded, *, stratified: bool) -> DataSet:
    mean, std = _statistics(name, channels=loaded.train.image_shape[-1])
    return DataSet(
        name=name,
        label_names=loaded.label_names,
        image_shape=loaded.train.image_shape,
        train=loaded.train,
        validation=loaded.validation,
        test=loaded.test,
        horizontal_flip=_known_as(name) not in _CHARACTERS,
        mean=mean,
        std=std,
        skipped=loaded.skipped,
        origins=loaded.origins,
        stratified=stratified,
        left_out=loaded.left_out,
        sides=loaded.sides,
    )


def _statistics(name: str, *, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if channels != 3:
        return (0.5,) * channels, (0.5,) * channels
    return _STATISTICS.get(_known_as(name), _IMAGENET)


def _known_as(name: str) -> str:
    """What a data set is called, whoever publishes it: `hf:ylecun/mnist` is `mnist`."""
    word, _, place = name.partition(":")
    if word != hf_list.WORD:
        return base_name(name)
    return hf_list.parse(place).source.partition("@")[0].rpartition("/")[2].lower()
