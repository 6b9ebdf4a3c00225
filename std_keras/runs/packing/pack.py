"""`std_keras.pack`: `std_keras:NAME` of a finished run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from std_keras import quiet
from std_keras.errors import InputError, Interrupted, LimitError
from std_keras.files.output_folder import make_output_dir
from std_keras.files.paths import user_path
from std_keras.files.replaced_folder import replaced_folder
from std_keras.runs import pretrained
from std_keras.runs.origin import LICENSE, keep_license, license_of
from std_keras.runs.run import Run
from std_keras.runs.run_directory import RunDirectory, write_atomically

if TYPE_CHECKING:
    from std_keras.data.source import Source

_TEXTS = Path(__file__).resolve().parent  # Of licences.


@dataclass(frozen=True)
class Packed:
    """Packed weights.

    Attributes:
        path: their folder.
        megabytes: size of the weights' file.
        top1_before: fraction of the test split that the run's model gets right.
        top1: likewise, of the packed model.
    """

    path: Path
    megabytes: float
    top1_before: float
    top1: float


def pack(
    run: Run | str | os.PathLike[str],
    *,
    name: str,
    output_dir: str | os.PathLike[str] | None = None,
    dataset: str | None = None,
    data_dir: str | None = None,
    max_accuracy_drop: float = 0.001,
    max_megabytes: float = 5.0,
    license: str | None = None,
    license_file: str | os.PathLike[str] | None = None,
    notes: str | None = None,
    overwrite: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Packed:
    """Makes a folder of float16 weights, a model card, and checksums of every file.

    Args:
        run: a finished run, or its directory.
        name: what the weights are called, `std_keras:NAME`.
        output_dir: where the folder is made, as the Hugging Face hub takes it; None for inside of
            the package.
        dataset: where the run's images are now, or other images of its classes; None for the run's
            own.
        data_dir: where TFDS keeps its prepared data sets; None for the run's own.
        max_accuracy_drop: the largest change of top-1 on the test split, as a fraction.
        max_megabytes: the largest size of the weights' file.
        license: of the weights, such as "apache-2.0"; None for what their origin states.
        license_file: the licence's text, for `LICENSE` in the folder; None for that which came with
            the weights, and for apache-2.0, whose text is known.
        notes: a sentence on the limits of the weights, for the model card.
        overwrite: whether to replace a folder of that name.
        stop: asked between steps; once true, nothing is packed.

    Raises:
        InputError: if the run is not finished, its licence is not stated, or the folder is there.
        LimitError: if the weights are too large, change the accuracy, or do not fit float16.
        Interrupted: because `stop()` was true.
    """
    directory = Run(run).directory
    if not pretrained.is_name(name):
        raise InputError(f"name={name} names a folder; use letters, digits, _ or -")
    result = directory.read_result()  # Refuses an unfinished run.
    license = license or license_of(result)
    if license is None or not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", license):
        stated = "is not stated" if license is None else f"cannot be {license!r}"
        source = (result.get("origin") or {}).get("source")
        began = f", which are from {source}," if source else ""
        raise InputError(
            f"the licence of the weights in {directory.path}{began} {stated}; say it with "
            "`license`, such as license=apache-2.0 for your own or cc-by-nc-4.0 for those that "
            "came with it"
        )
    text = None if license_file is None else user_path(license_file)
    if text is not None and not text.is_file():
        raise InputError(f"license_file={text} is not there; name a text file")
    if not directory.model_file.is_file():
        raise InputError(
            f"{directory.path} has no {directory.model_file.name}; its training is not finished"
        )
    target = Path(output_dir or pretrained.folder()) / name
    if target.exists() and not overwrite:
        raise InputError(f"name={name}: {target} is there already; add `overwrite` to replace it")
    make_output_dir(target.parent)
    with replaced_folder(target) as part:
        part.mkdir()
        packing = _Packing(
            directory,
            RunDirectory(part),
            dataset=dataset,
            data_dir=data_dir,
            for_hub=output_dir is not None,
            stop=stop,
        )
        packing.write_weights(max_megabytes=max_megabytes)
        packing.measure(max_accuracy_drop=max_accuracy_drop)
        packing.write_license(text, license=license)
        packing.write_card(name, license=license, notes=notes)
    return Packed(target, packing.megabytes, packing.before.top1, packing.after.top1)


class _Packing:
    """The steps from a run to packed weights."""

    def __init__(
        self,
        run: RunDirectory,
        packed: RunDirectory,
        *,
        dataset: str | None,
        data_dir: str | None,
        for_hub: bool,
        stop: Callable[[], bool],
    ) -> None:
        quiet.ensure_tensorflow()
        self._run, self._packed, self._stop = run, packed, stop
        self._for_hub, self._dataset = for_hub, dataset
        self._config = run.read_config()
        self._data_dir = data_dir or self._config.data.data_dir

    def write_weights(self, *, max_megabytes: float) -> None:
        from std_keras.runs.packing import float16, keras_folder, places

        # Where the data lay is nobody's business.
        shown = places.without_places(self._config.replace(data_dir=None))
        shutil.copy(self._run.labels_file, self._packed.labels_file)
        float16.convert(self._run.model_file, self._packed.model_file)
        if self._for_hub:
            keras_folder.unpack(self._packed, shown)
        else:  # The package needs the weights once.
            write_atomically(self._packed.config_file, shown.to_json())
        self.megabytes = self._packed.model_file.stat().st_size / 1e6
        if self.megabytes > max_megabytes:
            raise LimitError(
                f"the weights of {self._run.path} take {self.megabytes:.2f} MB in float16, more "
                f"than max_megabytes={max_megabytes}"
            )

    def measure(self, *, max_accuracy_drop: float) -> None:
        from std_keras import progress
        from std_keras.runs.keras_file import load_keras_file
        from std_keras.runs.packing.card import Figures
        from std_keras.training import build

        data = build.data_of_run(
            self._run.path,
            dataset=self._dataset,
            data_dir=self._data_dir,
            model=load_keras_file(self._run.model_file),
            progress=progress.stoppable(self._stop),
        )
        found = []
        for directory in (self._run, self._packed):
            if self._stop():
                raise Interrupted("interrupted; nothing was packed")
            found.append(Figures(*self._accuracy(directory, data.test)))
        self.before, self.after = found
        if abs(self.after.top1 - self.before.top1) > max_accuracy_drop:
            raise LimitError(
                f"float16 changes the top-1 of {self._run.path} from {self.before.top1:.4f} to "
                f"{self.after.top1:.4f}, more than max_accuracy_drop={max_accuracy_drop}"
            )

    def _accuracy(self, run: RunDirectory, test: Source) -> tuple[float, float]:
        """Top-1 and top-5 of `model.keras` on the test split."""
        import tensorflow as tf

        from std_keras import models
        from std_keras.runs.evaluation import Evaluator
        from std_keras.runs.keras_file import load_keras_file
        from std_keras.training import build

        model = load_keras_file(run.model_file)
        heads = Evaluator(
            models.heads_model(model),
            source=test,
            batch_size=250,
            strategy=tf.distribute.get_strategy(),
        ).run(stop=self._stop)
        accuracy = heads[build.default_head(model)]
        return accuracy.top1, accuracy.top5

    def write_license(self, text: Path | None, *, license: str) -> None:
        """Puts the licence's text there: a given one, that of the weights, or a known one."""
        stated = license_of(self._run.read_result())
        known = _TEXTS / f"{license}.txt"
        if text is not None:
            shutil.copyfile(text, self._packed.path / LICENSE)
        elif license == stated and (self._run.path / LICENSE).is_file():
            keep_license(self._run.path, self._packed.path)
        elif known.is_file():
            shutil.copyfile(known, self._packed.path / LICENSE)

    def write_card(self, name: str, *, license: str, notes: str | None) -> None:
        from std_keras.runs.packing import card, places

        packed = card.packed(before=self.before, after=self.after, license=license, notes=notes)
        result = places.result_without_places(self._run.read_result())
        self._packed.write_result({**result, "packed": packed})
        text = card.of_folder(self._packed, name=name)
        write_atomically(self._packed.path / "README.md", text)
        pretrained.write_checksums(self._packed.path)
