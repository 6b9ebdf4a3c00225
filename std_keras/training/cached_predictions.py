"""Teacher predictions of a run that come from a cache, and those that go into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from std_keras import progress, teachers
from std_keras.config import TrainConfig
from std_keras.config.distillation import DistillationOptions
from std_keras.data import DataSet, Shard, folder_content
from std_keras.errors import InputError
from std_keras.teachers import prediction_file
from std_keras.teachers.cache import Chunk, Grid, PredictionCache, PredictionFile
from std_keras.teachers.identity import identity
from std_keras.teachers.predictions import PredictionFormat
from std_keras.training import stream


def prediction_format(options: DistillationOptions, dataset: DataSet) -> PredictionFormat:
    """How a batch holds its teachers' predictions."""
    top_k = options.teacher_cache_top_k
    if top_k > dataset.num_classes:
        raise InputError(
            f"teacher_cache_top_k={top_k} is more than the {dataset.num_classes} classes of "
            f"dataset={dataset.name}; use fewer, or 0 for all"
        )
    return PredictionFormat(
        num_classes=dataset.num_classes,
        soft=options.needs_teacher_logits,
        half=options.teacher_cache is not None,
        top_k=0 if top_k == dataset.num_classes else top_k,
    )


def open_cache(
    config: TrainConfig, dataset: DataSet, *, view_sizes: Sequence[int]
) -> PredictionCache | None:
    """The cache that a configuration names; None if it names none or follows no teacher.

    Args:
        config: the configuration.
        dataset: its data.
        view_sizes: what each teacher sees, from `teacher_views.view_sizes`.

    Raises:
        InputError: if the folder cannot be used, or a teacher's files cannot be read.
    """
    if config.distillation.teacher_cache is None or not config.distillation.uses_teachers:
        return None
    return PredictionCache(
        config.distillation.teacher_cache,
        stream=stream.facts(config, dataset),
        teachers=[
            identity(
                teachers.parse(description),
                bfloat16=config.performance.mixed_precision,
                view_size=None if size == dataset.image_shape[0] else size,
            )
            for description, size in zip(config.distillation.teachers, view_sizes, strict=True)
        ],
        form=prediction_format(config.distillation, dataset),
        grid=Grid(config.optimization.batch_size, stream.steps_per_epoch(config, dataset)),
        picture_levels=stream.picture_levels(config, dataset),
        picture_contents=folder_content.contents(dataset.name),
    )


@dataclass(frozen=True)
class Stretch:
    """Steps up to `end` whose predictions are all in the cache, or all to be computed."""

    cached: bool
    end: int


class CachedPredictions:
    """A cache of teacher predictions, by the steps of a run.

    Args:
        cache: where the predictions are.
        period: steps after which the stream repeats; 0 for never.
        total_steps: of the run.
        shard: the replicas that this process feeds.
    """

    def __init__(
        self, cache: PredictionCache, *, period: int, total_steps: int, shard: Shard
    ) -> None:
        self.cache, self._shard, self._total = cache, shard, total_steps
        self._period = min(period, total_steps) or total_steps
        self._recorder = Recorder(cache)
        self._full = False

    def position(self, step: int) -> int:
        """The position in the stream of a step of the run."""
        return step % self._period

    def prepare(self, step: int, *, read_only: bool) -> bool:
        """Prepares for a run that continues after `step` steps, and logs what is cached.

        Args:
            step: steps done.
            read_only: whether everything must be there already.

        Returns:
            Whether all predictions of the steps to come are in the cache.

        Raises:
            InputError: if predictions are missing that this process cannot compute.
        """
        needed = self._positions(step)
        missing = sum(chunk.steps for chunk in self._chunks(needed) if self.cache.missing(chunk))
        total = sum(chunk.steps for chunk in self._chunks(needed))
        views, batch = total * self.cache.grid.batch_size, self.cache.grid.batch_size
        there = (total - missing) * batch
        state = f"{there:,} of {views:,} views are cached"
        state += f" ({self.cache.bytes_per_view:.1f} bytes each)"
        if not missing:
            progress.say(f"teacher cache {self.cache.path}: {state}; no teacher is loaded")
            self._full = True
            return True
        other = self.cache.differences()
        if other and not there:
            state += f"; the folder has predictions of other settings ({other})"
        if read_only or self._shard.local_replicas < self._shard.replicas:
            why = "teacher_cache_mode=read" if read_only else "a cluster"
            raise InputError(
                f"teacher_cache={self.cache.directory}: {state}; {why} needs all of them; run "
                "std-keras precompute with the same flags first, in one process"
            )
        progress.say(f"teacher cache {self.cache.path}: {state}")
        self.cache.begin()
        return False

    def stretch(self, step: int) -> Stretch:
        """The steps from `step` on that have their predictions in the cache, or lack them."""
        cached, end = self._there(step), step
        if self._full and not cached:
            self.cache.check(self.cache.grid.chunk(self.position(step)))
        while end < self._total and self._there(end) == cached:
            chunk = self.cache.grid.chunk(self.position(end))
            left = chunk.first + chunk.steps - self.position(end)
            end = min(end + left, self._total)
            if end % self._period == 0:
                break  # The stream begins anew; what is recorded until then is there.
        return Stretch(cached, end)

    def predictions(self, step: int, stretch: Stretch) -> tf.data.Dataset:
        """The predictions of the steps of a cached stretch, for this process's replicas, as the
        batches of `data.pipeline`."""
        begin = self.position(step)
        rows = self._shard.batch_size(self.cache.grid.batch_size)
        first = self._shard.first_replica * rows
        local = self._shard.local_replicas

        @tf.autograph.experimental.do_not_convert
        def own(predictions: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            own = {n: v[first : first + local * rows] for n, v in predictions.items()}
            if local == 1:
                return own
            return {n: tf.reshape(v, (local, rows, *v.shape[1:])) for n, v in own.items()}

        dataset = self.cache.dataset(begin, begin + stretch.end - step).map(own)
        return dataset.unbatch() if local > 1 else dataset

    def record(self, step: int, predictions: Mapping[str, np.ndarray]) -> None:
        """Takes the predictions (steps, B, M, ...) of the steps from `step` on."""
        for offset in range(len(next(iter(predictions.values()), ()))):
            own = {name: values[offset] for name, values in predictions.items()}
            self._recorder.add(self.position(step + offset), own)

    def flush(self) -> None:
        """Saves the steps of an unfinished chunk, so that a continued run can go on with it."""
        self._recorder.flush()

    def find_damage(self, step: int, stretch: Stretch) -> None:
        """Raises InputError if a file is damaged that the steps from `step` on read."""
        if stretch.cached and step < stretch.end:
            begin = self.position(step)
            for chunk in self.cache.grid.chunks(begin, begin + stretch.end - step):
                self.cache.missing(chunk)
                self.cache.check(chunk)

    def summary(self) -> str:
        """What this process stored."""
        return (
            f"teacher cache {self.cache.path}: {self._recorder.stored:,} views were stored by this "
            "process"
        )

    def _there(self, step: int) -> bool:
        return not self.cache.missing(self.cache.grid.chunk(self.position(step)))

    def _positions(self, step: int) -> list[tuple[int, int]]:
        """The ranges of positions that the steps after `step` need."""
        if self._total - step >= self._period:
            return [(0, self._period)]
        begin, end = self.position(step), self.position(self._total - 1) + 1
        if step == self._total:
            return []
        return [(begin, end)] if begin < end else [(0, end), (begin, self._period)]

    def _chunks(self, ranges: Sequence[tuple[int, int]]) -> list[Chunk]:
        grid = self.cache.grid
        return list(dict.fromkeys(c for begin, end in ranges for c in grid.chunks(begin, end)))


class Recorder:
    """Collects predictions step by step and writes every chunk that is complete.

    Args:
        cache: where to.
    """

    def __init__(self, cache: PredictionCache) -> None:
        self._cache = cache
        self._chunk: Chunk | None = None
        self._records: dict[Path, tuple[PredictionFile, list[bytes]]] = {}
        self._next = -1
        self.stored = 0

    def add(self, position: int, predictions: Mapping[str, np.ndarray]) -> None:
        """Takes the predictions (B, M, ...) of one step; steps of a chunk that it did not see from
        its beginning are passed over.

        Raises:
            MachineError: if a finished chunk cannot be written.
        """
        chunk = self._cache.grid.chunk(position)
        if chunk != self._chunk or position != self._next:
            self._start(chunk, position)
        self._next = position + 1
        for file, records in self._records.values():
            own = {name: values[:, file.teacher] for name, values in predictions.items()}
            records.append(file.part.pack(own, key=file.key, position=position))
        if self._next == chunk.first + chunk.steps:
            self._finish(chunk)

    def flush(self) -> None:
        """Saves what is collected of an unfinished chunk."""
        for file, records in self._records.values():
            prediction_file.write(file.begun, records)

    def begun(self, chunk: Chunk) -> int:
        """How many steps of a chunk that is missing were saved by `flush`, for all its files."""
        return min(len(self._saved(file)) for file in self._cache.missing(chunk))

    def _saved(self, file: PredictionFile) -> list[bytes]:
        if not file.begun.is_file():
            return []
        return prediction_file.read(
            file.begun,
            part=file.part,
            key=file.key,
            first=file.chunk.first,
            views=self._cache.grid.batch_size,
        )

    def _start(self, chunk: Chunk, position: int) -> None:
        """Begins a chunk at any of its steps; what was saved of it before is taken up."""
        self._chunk, self._records = chunk, {}
        done = position - chunk.first
        for file in self._cache.missing(chunk):
            records = self._saved(file)[:done] if done else []
            if len(records) == done:
                self._records[file.path] = (file, records)

    def _finish(self, chunk: Chunk) -> None:
        for file, records in self._records.values():
            prediction_file.write(file.path, records)
            file.begun.unlink(missing_ok=True)
        if self._records:
            self.stored += chunk.steps * self._cache.grid.batch_size
        self._chunk, self._records = None, {}
