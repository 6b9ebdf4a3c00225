"""What a part of a data set (train, validation or test) can do, wherever its images live."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from std_keras.data.images import resize_box
from std_keras.data.randomness import Purpose, derive_seed, permutation
from std_keras.data.stratified import held_out_rows
from std_keras.errors import InputError


class Progress(Protocol):
    """Wraps an iterable to show how far it is: `progress(files, total=100, what="reading")`."""

    def __call__(self, iterable: Iterable[Any], *, total: int, what: str) -> Iterable[Any]: ...


def no_progress(iterable: Iterable[Any], *, total: int, what: str) -> Iterable[Any]:
    """The default: shows nothing."""
    return iterable


Drawn = dict[str, tf.Tensor]
BoxOf = Callable[[tf.Tensor, tf.Tensor, Drawn], tf.Tensor]
"""From height (), width () and what was drawn for an image to its box, see `images.Box`."""


class Source(abc.ABC):
    """Labelled images of one part of a data set.

    A *raw* batch is a 1-D tensor with one entry per example (an index or a serialized record), so
    that a pipeline can slice out its own rows before the costly `decode`.

    Attributes:
        size: number of examples.
        image_shape: (H, W, C) of the decoded images.
    """

    size: int
    image_shape: tuple[int, int, int]

    @abc.abstractmethod
    def shuffled(
        self, *, seed: int, batch_size: int, start_step: int = 0, repeats: int = 1
    ) -> tf.data.Dataset:
        """Raw batches (batch_size,) of the steps start_step, start_step + 1, ... without end.

        An epoch has size // batch_size steps and its own order, a pure function of (seed, epoch);
        what is left over at its end is not used in that epoch.

        With `repeats` = r each image comes r times in a row of batches, nearly always in the same
        batch, and an epoch of as many steps has 1/r of the images (repeated augmentation, Berman
        et al. 2019, arXiv 1902.05509, as DeiT does it).
        """

    @abc.abstractmethod
    def sequential(self, *, batch_size: int) -> tf.data.Dataset:
        """Raw batches in a fixed order, every example once; the last batch may be short."""

    @abc.abstractmethod
    def decode(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Raw (b,) to images (b, H, W, C) uint8 and labels (b,) int32; works in a graph."""

    def decode_crops(
        self, raw: tf.Tensor, *, box: BoxOf, drawn: Drawn
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As `decode`, but of each image only a box, scaled to the size of the images.

        See `decode_views` for the arguments.
        """
        own = self.image_shape[0]
        (crops,), labels = self.decode_views(raw, (own,), box=box, drawn=drawn)
        return crops, labels

    def decode_views(
        self,
        raw: tf.Tensor,
        sizes: Sequence[int],
        *,
        box: BoxOf | None = None,
        drawn: Drawn | None = None,
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The same part of every image at several sizes, from one decoding.

        A source that has larger pictures than its images makes any size from them. Here a box is
        cut from the decoded image, and there are no other sizes.

        Args:
            raw: (b,).
            sizes: sides of the squares; `image_shape[0]` stands for the images of `decode`.
            box: the part, see `BoxOf`; None for what `decode` shows.
            drawn: what `box` needs, each with leading axis b.

        Returns:
            For each size (b, size, size, C) uint8, and the labels (b,) int32.
        """
        if set(sizes) != {self.image_shape[0]}:
            raise ValueError(f"no pictures larger than {self.image_shape}; got sizes {sizes}")
        images, labels = self.decode(raw)
        if box is None:
            return [tf.ensure_shape(images, (None, *self.image_shape))], labels
        height, width, _ = self.image_shape

        def one(row: Drawn) -> tf.Tensor:
            image = row.pop("image")
            return resize_box(image, box(height, width, row), self.image_shape[0])

        crops = tf.map_fn(
            one,
            {"image": images, **(drawn or {})},
            fn_output_signature=tf.TensorSpec(self.image_shape, tf.uint8),
        )
        return [crops], labels

    @abc.abstractmethod
    def split(
        self,
        *,
        fraction: float,
        seed: int,
        stratified: bool = True,
        flag: str = "validation_fraction",
    ) -> tuple[Source, Source]:
        """Parts this into (what remains, about `fraction` of the examples), chosen by `seed`.

        Args:
            fraction: in (0, 1).
            seed: of the choice.
            stratified: take the same fraction of every class, and copies of a picture together.
                Without it the classes are left to chance, as older runs did and still do.
            flag: the argument that `fraction` came from; each has its own choice for a seed.

        Raises:
            InputError: if one of the two would be empty.
        """

    def with_crop_ratio(self, ratio: float) -> Source:
        """The same examples with other squares, see `images.resize_and_crop`.

        Here: pictures that have the size of the images, of which nothing is cut.
        """
        return self

    def take(
        self,
        n: int | None = None,
        *,
        progress: Progress = no_progress,
        what: str = "decoding images",
    ) -> tuple[np.ndarray, np.ndarray]:
        """The first n examples (all if None): images (n, H, W, C) uint8, labels (n,) int32."""
        n = self.size if n is None else min(n, self.size)
        size = self.image_shape[0]
        (images,), labels = self._taken(n, (size,), progress=progress, what=what)
        return images, labels

    def take_views(
        self,
        sizes: Sequence[int],
        *,
        progress: Progress = no_progress,
        what: str = "decoding images",
    ) -> list[np.ndarray]:
        """All n examples at several sizes, each (n, size, size, C) uint8; see `decode_views`."""
        return self._taken(self.size, sizes, progress=progress, what=what)[0]

    def _taken(
        self, n: int, sizes: Sequence[int], *, progress: Progress, what: str
    ) -> tuple[list[np.ndarray], np.ndarray]:
        batch = max(1, min(n, 256))
        batches = self.sequential(batch_size=batch).take(-(-n // batch))

        @tf.autograph.experimental.do_not_convert
        def decode(raw: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], tf.Tensor]:
            views, labels = self.decode_views(raw, sizes)
            return tuple(views), labels

        batches = batches.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        images = [np.empty((n, *view.shape[1:]), np.uint8) for view in batches.element_spec[0]]
        labels = np.empty((n,), np.int32)
        done = 0
        for some_images, some_labels in progress(
            batches.as_numpy_iterator(), total=-(-n // batch), what=what
        ):
            count = min(n - done, len(some_labels))
            for all_images, some in zip(images, some_images, strict=True):
                all_images[done : done + count] = some[:count]
            labels[done : done + count] = some_labels[:count]
            done += count
        if done != n:
            raise ValueError(f"the source promised {self.size} examples but ended after {done}")
        return images, labels


class IndexedSource(Source):
    """A source whose examples can be reached by number: raw entries are int64 indices."""

    def shuffled(
        self, *, seed: int, batch_size: int, start_step: int = 0, repeats: int = 1
    ) -> tf.data.Dataset:
        steps_per_epoch = check_batch_size(batch_size, size=self.size)
        first_epoch, first_step = divmod(start_step, steps_per_epoch)

        @tf.autograph.experimental.do_not_convert
        def steps_of(epoch: tf.Tensor) -> tf.data.Dataset:
            order = permutation(self.size, seed=derive_seed(seed, Purpose.EXAMPLE_ORDER, epoch))
            if repeats > 1:
                order = tf.repeat(order, repeats)
            order = tf.reshape(order[: steps_per_epoch * batch_size], (-1, batch_size))
            order = tf.gather(order, spread_copies(batch_size, repeats), axis=1)
            done = tf.where(epoch == first_epoch, first_step, 0)
            return tf.data.Dataset.from_tensor_slices(order[done:])

        return numbers_from(first_epoch).flat_map(steps_of)

    def sequential(self, *, batch_size: int) -> tf.data.Dataset:
        return tf.data.Dataset.range(self.size).batch(batch_size)

    @abc.abstractmethod
    def subset(self, rows: np.ndarray) -> IndexedSource:
        """The examples of the given indices (n,), in that order."""

    def labels(self) -> np.ndarray:
        """The label of every example, (n,) int32."""
        return self.take()[1]

    def identities(self) -> np.ndarray:
        """Of every example a value (n,), the same for copies of one picture."""
        return np.array([hashlib.blake2b(x, digest_size=16).digest() for x in self.take()[0]])

    def split(
        self,
        *,
        fraction: float,
        seed: int,
        stratified: bool = True,
        flag: str = "validation_fraction",
    ) -> tuple[IndexedSource, IndexedSource]:
        seeds = derive_seed(seed, held_out_purpose(flag))
        count = round(fraction * self.size)
        if stratified:
            rows = held_out_rows(self.labels(), self.identities(), fraction=fraction, seed=seeds)
        else:
            rows = np.sort(permutation(self.size, seed=seeds).numpy()[:count])
        if not 0 < min(count, len(rows)) <= max(count, len(rows)) < self.size:
            raise InputError(
                f"{flag}={fraction:g}: {min(count, len(rows))} of {self.size} training images "
                "would be held out; at least one must be, and one of each class must remain"
            )
        return self.subset(np.setdiff1d(np.arange(self.size), rows)), self.subset(rows)


def held_out_purpose(flag: str) -> Purpose:
    """What the random numbers of `Source.split` are for."""
    return Purpose.TEST_PART if flag == "test_fraction" else Purpose.HELD_OUT


def check_batch_size(batch_size: int, *, size: int) -> int:
    """Steps per epoch; raises InputError if there is not even one full batch."""
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size}: must be at least 1")
    if batch_size > size:
        raise InputError(
            f"batch_size={batch_size}: larger than the training set of {size} images; "
            f"use {size} or less"
        )
    return size // batch_size


def numbers_from(first: int) -> tf.data.Dataset:
    """first, first + 1, ... without end, int64.

    As `tf.data.Dataset.counter`, which leaves a graph behind in the process whenever it is called.
    """
    return tf.data.Dataset.range(first, tf.int64.max).repeat()


def spread_copies(batch_size: int, repeats: int) -> np.ndarray:
    """An order (batch_size,) of a batch that parts copies which lie side by side.

    All first copies come first, then all second ones: neighbours, which mixup and the mutual
    information term pair, are different images, and the copies go to different replicas, as in
    DeiT.
    """
    return np.argsort(np.arange(batch_size) % repeats, kind="stable")
