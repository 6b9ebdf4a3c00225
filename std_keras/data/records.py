"""Images streamed from TFRecord files; for sets that do not fit in memory."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from std_keras.data.images import cut_box, resize_and_crop, resize_part
from std_keras.data.randomness import Purpose, derive_seed, permutation
from std_keras.data.source import (
    BoxOf,
    Drawn,
    IndexedSource,
    Source,
    check_batch_size,
    held_out_purpose,
    numbers_from,
    spread_copies,
)
from std_keras.errors import InputError

# Files read at once. It shapes the order of the examples, so it does not follow the machine.
_PARALLEL_FILES = 16
# Bytes of serialized examples shuffled together: many small images, or a few thousand photographs.
_WINDOW_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True)
class RecordFile:
    """One shard: its path, how many examples it holds, and how large it is."""

    path: str
    examples: int
    bytes: int


class RecordSource(Source):
    """Serialized examples in TFRecord shards; raw entries are records (strings).

    Each epoch reads the shards in its own order, several at a time, and shuffles within windows of
    about 256 MiB; a set below that is shuffled as a whole. `tf.data.Dataset.shuffle` is not used:
    its order also depends on the global seed, so it would not be a function of (seed, epoch).
    """

    def __init__(
        self,
        files: Sequence[RecordFile],
        parse: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
        *,
        image_shape: tuple[int, int, int],
        window: int | None = None,
        crop_ratio: float = 1.0,
        peek: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]] | None = None,
    ) -> None:
        """Reads images from shards.

        Args:
            files: the shards.
            parse: maps a record () to an image (any H, any W, C) uint8 and a label ().
            image_shape: of the images to make.
            window: records shuffled together, if not about 256 MiB of them.
            crop_ratio: see `images.resize_and_crop`.
            peek: maps a record () to its image as it is encoded, a string (), and its label ();
                what `RecordArraySource.split` tells examples apart by.
        """
        self.files = tuple(file for file in files if file.examples)
        self.size = sum(file.examples for file in self.files)
        self.image_shape = image_shape
        self._parse = parse
        self.crop_ratio = crop_ratio
        self.peek = peek
        self.path = self.files[0].path if self.files else ""
        record_bytes = sum(file.bytes for file in self.files) / max(1, self.size)
        self._window = window or max(1024, int(_WINDOW_BYTES / max(1.0, record_bytes)))

    def shuffled(
        self, *, seed: int, batch_size: int, start_step: int = 0, repeats: int = 1
    ) -> tf.data.Dataset:
        steps_per_epoch = check_batch_size(batch_size, size=self.size)
        first_epoch, first_step = divmod(start_step, steps_per_epoch)
        paths = [file.path for file in self.files]

        @tf.autograph.experimental.do_not_convert
        def steps_of(epoch: tf.Tensor) -> tf.data.Dataset:
            shard_order = permutation(
                len(paths), seed=derive_seed(seed, Purpose.SHARD_ORDER, epoch)
            )

            def shuffle(window: tf.Tensor, records: tf.Tensor) -> tf.Tensor:
                order_seed = derive_seed(seed, Purpose.EXAMPLE_ORDER, epoch, window)
                return tf.gather(records, permutation(tf.size(records), seed=order_seed))

            records = tf.data.Dataset.from_tensor_slices(tf.gather(paths, shard_order))
            records = records.interleave(
                tf.data.TFRecordDataset,
                cycle_length=min(_PARALLEL_FILES, len(paths)),
                block_length=16,
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
            windows = records.batch(self._window).enumerate().map(shuffle)
            examples = windows.unbatch()
            if repeats > 1:
                examples = examples.flat_map(
                    lambda record: tf.data.Dataset.from_tensors(record).repeat(repeats)
                )
            steps = examples.batch(batch_size, drop_remainder=True).take(steps_per_epoch)
            if repeats > 1:
                steps = steps.map(lambda r: tf.gather(r, spread_copies(batch_size, repeats)))
            return steps.skip(tf.where(epoch == first_epoch, tf.cast(first_step, tf.int64), 0))

        return numbers_from(first_epoch).flat_map(steps_of)

    def sequential(self, *, batch_size: int) -> tf.data.Dataset:
        return tf.data.TFRecordDataset([file.path for file in self.files]).batch(batch_size)

    def decode(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        (images,), labels = self.decode_views(raw, (self.image_shape[0],))
        return images, labels

    def decode_views(
        self,
        raw: tf.Tensor,
        sizes: Sequence[int],
        *,
        box: BoxOf | None = None,
        drawn: Drawn | None = None,
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        def shape(size: int) -> tuple[int, int, int]:
            own = self.image_shape
            return own if size == own[0] else (size, size, own[-1])

        def whole(image: tf.Tensor, size: int) -> tf.Tensor:
            if image.shape != shape(size):
                image = resize_and_crop(image, size, crop_ratio=self.crop_ratio)
            return tf.ensure_shape(image, shape(size))

        def one(row: Drawn) -> tuple[list[tf.Tensor], tf.Tensor]:
            image, label = self._parse(row.pop("record"))
            label = tf.cast(label, tf.int32)
            if box is None:
                return [whole(image, size) for size in sizes], label
            part = cut_box(image, box(tf.shape(image)[0], tf.shape(image)[1], row))
            return [resize_part(part, size) for size in sizes], label

        return tf.map_fn(
            one,
            {"record": raw, **(drawn or {})},
            fn_output_signature=(
                [tf.TensorSpec(shape(size), tf.uint8) for size in sizes],
                tf.TensorSpec((), tf.int32),
            ),
        )

    def split(
        self,
        *,
        fraction: float,
        seed: int,
        stratified: bool = True,
        flag: str = "validation_fraction",
    ) -> tuple[RecordSource, RecordSource]:
        """See `Source.split`; holds out whole files, whose examples are mixed, whatever
        `stratified` says."""
        count = round(fraction * len(self.files))
        if not 0 < count < len(self.files):
            raise InputError(
                f"{flag}={fraction:g}: streamed data is held out by whole files, "
                f"and the training part has {len(self.files)} of them, {count} of which would be "
                "held out; use another fraction, or raise `cache_gb` to hold the data in memory"
            )
        seeds = derive_seed(seed, held_out_purpose(flag))
        held_out = set(permutation(len(self.files), seed=seeds).numpy()[:count].tolist())
        return (
            self._with([file for i, file in enumerate(self.files) if i not in held_out]),
            self._with([file for i, file in enumerate(self.files) if i in held_out]),
        )

    def _with(self, files: Sequence[RecordFile]) -> RecordSource:
        return RecordSource(
            files,
            self._parse,
            image_shape=self.image_shape,
            window=self._window,
            crop_ratio=self.crop_ratio,
            peek=self.peek,
        )

    def with_crop_ratio(self, ratio: float) -> RecordSource:
        return RecordSource(
            self.files,
            self._parse,
            image_shape=self.image_shape,
            window=self._window,
            crop_ratio=ratio,
            peek=self.peek,
        )

    def in_memory(self) -> RecordArraySource:
        """The same examples, read once and held in memory as they are in the files."""
        batches = self.sequential(batch_size=256).as_numpy_iterator()
        records = np.array([record for batch in batches for record in batch], dtype=object)
        return RecordArraySource(records, decoder=self)


class RecordArraySource(IndexedSource):
    """Serialized examples (n,) in memory, decoded when a batch needs them; raw entries: indices."""

    def __init__(self, records: np.ndarray, *, decoder: RecordSource) -> None:
        self.size = len(records)
        self.image_shape = decoder.image_shape
        self._records, self._decoder, self.path = records, decoder, decoder.path
        self._seen: tuple[np.ndarray, np.ndarray] | None = None
        with tf.device("CPU:0"):
            self._tensor = tf.constant(records, tf.string)

    def decode(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._decoder.decode(tf.gather(self._tensor, raw))

    def decode_views(
        self,
        raw: tf.Tensor,
        sizes: Sequence[int],
        *,
        box: BoxOf | None = None,
        drawn: Drawn | None = None,
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        records = tf.gather(self._tensor, raw)
        return self._decoder.decode_views(records, sizes, box=box, drawn=drawn)

    def labels(self) -> np.ndarray:
        return self._peek()[1] if self._decoder.peek else super().labels()

    def identities(self) -> np.ndarray:
        if not self._decoder.peek:
            return super().identities()
        return self._peek()[0]

    def _peek(self) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of the encoded images, and labels, each (n,)."""
        if self._seen is None:
            assert self._decoder.peek is not None
            records = tf.data.Dataset.from_tensor_slices(self._tensor)
            peek = tf.autograph.experimental.do_not_convert(self._decoder.peek)
            pairs = [
                (hashlib.sha256(image).digest(), label)
                for image, label in records.map(peek).as_numpy_iterator()
            ]
            hashes, labels = zip(*pairs, strict=True)
            self._seen = np.array(hashes), np.array(labels, np.int32)
        return self._seen

    def split(
        self,
        *,
        fraction: float,
        seed: int,
        stratified: bool = True,
        flag: str = "validation_fraction",
    ) -> tuple[RecordArraySource, RecordArraySource]:
        rest, held_out = super().split(
            fraction=fraction, seed=seed, stratified=stratified, flag=flag
        )
        assert isinstance(rest, RecordArraySource) and isinstance(held_out, RecordArraySource)
        return rest, held_out

    def with_crop_ratio(self, ratio: float) -> RecordArraySource:
        return RecordArraySource(self._records, decoder=self._decoder.with_crop_ratio(ratio))

    def subset(self, rows: np.ndarray) -> RecordArraySource:
        return RecordArraySource(self._records[rows], decoder=self._decoder)
