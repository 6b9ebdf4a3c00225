"""A data set by name: its parts, its classes and the facts that go with it."""

from __future__ import annotations

import dataclasses

from std_keras.data.digits import LABEL_NAMES, load_digits
from std_keras.data.folder import load_folder
from std_keras.data.source import Progress, Source, no_progress
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

    @property
    def num_classes(self) -> int:
        return len(self.label_names)

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
    cache_gb: float = 4.0,
    corrupt_images: str = "refuse",
    eval_crop_ratio: float = 1.0,
    whole_pictures: bool = False,
    progress: Progress | None = None,
) -> DataSet:
    """Loads a data set that is on this machine; downloads nothing.

    Args:
        name: `digits` (embedded in scikit-learn), `folder:PATH` (one folder per class under
            train/ and val/), or a TFDS name such as `cifar100` or `imagenette/160px-v2`.
        data_dir: where TFDS sets were prepared; TFDS' own default if None.
        image_size: side of the square images; None keeps the set's own, if it has one. Others are
            resized at the short side and cropped at the centre.
        validation_fraction: in [0, 1), this part of train is held out.
        data_seed: chooses which.
        cache_gb: sets up to this size (GiB of decoded pixels, all parts) are held in memory,
            larger ones are read from disk again and again; 0 always reads.
        corrupt_images: `refuse` or `skip` unreadable files (of `folder:`).
        eval_crop_ratio: in (0, 1], part of the short side that the square of a test picture has,
            where pictures are scaled.
        whole_pictures: keep training pictures as they are (as files, or encoded in memory) until a
            batch needs them, so that random crops can be cut from all of a picture.
        progress: wraps slow loops, see `Progress`.

    Raises:
        InputError: for anything that cannot be used as it is; the message says why.
    """
    if image_size is not None and image_size < 1:
        raise InputError(f"image_size={image_size}: must be at least 1")
    if not 0.0 <= validation_fraction < 1.0:
        raise InputError(f"validation_fraction={validation_fraction:g}: must be in [0, 1)")
    if not cache_gb >= 0.0:
        raise InputError(f"cache_gb={cache_gb:g}: must be 0 or more")
    if corrupt_images not in ("refuse", "skip"):
        raise InputError(f"corrupt_images={corrupt_images}: must be refuse or skip")
    progress = progress or no_progress
    cache_bytes = cache_gb * 2**30

    train: Source
    test: Source
    skipped: tuple[str, ...] = ()
    if name == "digits":
        label_names = LABEL_NAMES
        train, test = load_digits(image_size=image_size)
    elif name.startswith("folder:"):
        label_names, train, test, skipped = load_folder(
            name.removeprefix("folder:"),
            image_size=image_size,
            cache_bytes=cache_bytes,
            corrupt_images=corrupt_images,
            eval_crop_ratio=eval_crop_ratio,
            whole_pictures=whole_pictures,
            progress=progress,
        )
    else:
        label_names, train, test = load_tfds(
            name,
            data_dir=data_dir,
            image_size=image_size,
            cache_bytes=cache_bytes,
            eval_crop_ratio=eval_crop_ratio,
            whole_pictures=whole_pictures,
            progress=progress,
        )

    validation: Source | None = None
    if validation_fraction:
        train, validation = train.split(fraction=validation_fraction, seed=data_seed)
    mean, std = _statistics(name, channels=train.image_shape[-1])
    return DataSet(
        name=name,
        label_names=label_names,
        image_shape=train.image_shape,
        train=train,
        validation=validation,
        test=test,
        horizontal_flip=base_name(name) not in _CHARACTERS,
        mean=mean,
        std=std,
        skipped=skipped,
    )


def _statistics(name: str, *, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if channels != 3:
        return (0.5,) * channels, (0.5,) * channels
    return _STATISTICS.get(base_name(name), _IMAGENET)
