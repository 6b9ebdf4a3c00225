"""`std_keras.teach`: a teacher for one's own classes, from a network that was trained on others."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any

from std_keras import progress, quiet
from std_keras.config import TrainConfig, defaults
from std_keras.config import options as config_options
from std_keras.errors import InputError
from std_keras.runs.run import Run
from std_keras.runs.run_directory import RunDirectory
from std_keras.training.train import train

# TensorFlow is imported when the work starts, so that naming `std_keras.teach` is cheap.

# Photographs are seen as ImageNet's test images are by the networks that were trained on them: 1.0
# had one point less on ten of its classes. Images of other data sets are framed already.
_OF_PHOTOGRAPHS = {"crop": "resized", "eval_crop_ratio": 0.875}
# Of the fine-tuning; weights that are good already need small steps.
_TUNING = {"learning_rate": 1e-4, "batch_size": 32}
_FIRST_STAGE = "linear_head"
# What the backbone decides.
_NOT_OPTIONS = ("model", "image_size", "epochs", "initialize_from", "teacher", "distillation")


def teach(
    backbone: str,
    *,
    model_dir: str | os.PathLike[str],
    backbone_size: int | None = None,
    fine_tune_epochs: int = 0,
    stop: Callable[[], bool] = lambda: False,
    **options: Any,
) -> Run:
    """Makes a teacher for a data set's classes of any trained network, in seconds to minutes.

    The class head of the network is cut off. What it read, the features, is computed once for
    every training image, and a new linear class head is fitted to it: multinomial logistic
    regression, its penalty chosen on a held-out fifth of the training images (or on the validation
    part, if the data has one), then fitted again to all training images. The run directory is one
    like any other: its model takes pixels of 0..255.

    Args:
        backbone: `SOURCE[,input=...][,size=N]`, as of a teacher: see the page on teachers.
        model_dir: the run directory: new, or of the same call, which is then finished already.
        backbone_size: side of the network's input in pixels, if it takes any; 224 if not given.
        fine_tune_epochs: then train all layers for so many epochs, those of batch normalisation
            apart. The first stage is a run of its own then, `linear_head` in the run directory,
            and an interrupted call is continued by the same one.
        stop: asked between batches; once true, the work ends.
        **options: of `TrainConfig`: `dataset` and what else says which images; with
            `fine_tune_epochs`, `learning_rate` and `batch_size`.

    Raises:
        InputError: if the data, the network or the run directory cannot be used.
        Interrupted: because `stop()` was true.
    """
    for name in _NOT_OPTIONS:
        if name in options:
            raise InputError(f"`{name}` does not apply: the backbone decides it")
    tuning = {name: options.pop(name) for name in _TUNING if name in options}
    if fine_tune_epochs < 0:
        raise InputError(f"fine_tune_epochs={fine_tune_epochs} must be 0 or more")
    if tuning and not fine_tune_epochs:
        raise InputError(f"`{next(iter(tuning))}` needs `fine_tune_epochs`; a head alone has none")
    photographs = str(options.get("dataset")).startswith(("folder:", "csv:", "parquet:", "hf:"))
    options = {**(_OF_PHOTOGRAPHS if photographs else {}), **options}
    run = Run(model_dir)
    if not fine_tune_epochs:
        _fit_head(run, backbone, backbone_size, TrainConfig(**options), tuning=None, stop=stop)
        return run
    first = Run(run.path / _FIRST_STAGE)
    then = {**_TUNING, **tuning, **options, "epochs": fine_tune_epochs}
    _fit_head(
        first,
        backbone,
        backbone_size,
        TrainConfig(**options),
        tuning=TrainConfig(**then),
        stop=stop,
    )
    config = TrainConfig(
        **then,
        image_size=first.config.data.image_size,
        initialize_from=str(first),
    )
    train(config, model_dir=run, stop=stop)
    result = run.directory.read_result()
    if "taught" not in result:
        assert first.result is not None
        taught = {**first.result["taught"], "linear_head_top1": first.result["top1"]}
        run.directory.write_result({**result, "taught": taught})
    return run


def _fit_head(
    run: Run,
    backbone: str,
    size: int | None,
    config: TrainConfig,
    *,
    tuning: TrainConfig | None,
    stop: Callable[[], bool],
) -> None:
    """Makes the run directory of a backbone with a linear head, if that was not done before.

    What the fine-tuning behind it, `tuning`, asks of the data is checked before the work.
    """
    began = time.monotonic()
    asked = {"backbone": backbone, "backbone_size": size, **_shaping(config)}
    if _is_finished(run, asked):
        progress.say(f"{run.path} is a finished run; nothing to do")
        return
    quiet.ensure_tensorflow()
    from std_keras.training.new_head import (
        freeze_batch_norms,
        network_and_data,
        with_new_head,
        write_run,
    )

    run.directory.prepare()
    try:
        network, dataset, config = network_and_data(
            backbone, size=size, config=config, tuning=tuning, stop=stop
        )
        model, facts = with_new_head(network, dataset, config=config, stop=stop)
        if tuning is not None:
            freeze_batch_norms(model)
        taught = {"asked": asked, **facts}
        write_run(run.directory, model, config, dataset, taught=taught, began=began, stop=stop)
    finally:
        run.directory.release()


def _shaping(config: TrainConfig) -> dict[str, Any]:
    """The options that shape the result and differ from their defaults."""
    known, usual = config_options(), defaults()
    return {
        name: value
        for name, value in config.flat().items()
        if known[name].shapes_result and value != usual[name]
    }


def _is_finished(run: Run, asked: dict[str, Any]) -> bool:
    """Whether this was done before; raises InputError if something else was."""
    directory = run.directory
    if not directory.exists():
        return False
    if directory.result_file.is_file():
        before = directory.read_result().get("taught", {}).get("asked")
        if before == asked or (before and _has_only_moved(directory, before, asked)):
            return True
    raise InputError(f"model_dir={run.path} is another run; name a new folder")


def _has_only_moved(directory: RunDirectory, before: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Whether the same images and the same backbone were asked for, at other places."""
    if {**before, "dataset": None, "backbone": None} != {
        **asked,
        "dataset": None,
        "backbone": None,
    }:
        return False
    quiet.ensure_tensorflow()
    from std_keras.data import folder_content
    from std_keras.runs import origin
    from std_keras.teachers import spec

    old, new = before.get("dataset", ""), asked.get("dataset", "")
    if folder_content.kind(old) != folder_content.kind(new):
        return False
    if old != new and folder_content.place(old) != folder_content.place(new):
        if not folder_content.has_content_of(new, directory.read_examples()):
            return False
    first, second = (spec.parse(one["backbone"], flag="backbone") for one in (before, asked))
    if dataclasses.replace(first, source=second.source) != second:
        return False
    weights = RunDirectory(second.source)
    known = (directory.read_result().get("origin") or {}).get("sha256")
    file = weights.model_file if weights.exists() else weights.path
    return first.source == second.source or (known is not None and known == origin.digest_of(file))
