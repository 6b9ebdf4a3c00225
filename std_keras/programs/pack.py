"""Makes `std_keras:NAME` of a finished run: weights in float16, a model card, checksums.

Usage: std-keras pack RUN --name=NAME   (--help lists the flags)
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from std_keras import quiet
from std_keras.config.option import MODEL, POSITIVE, RUN, Option
from std_keras.errors import InputError, Interrupted, LimitError
from std_keras.programs import flags, shared_options
from std_keras.programs.program import StopRequest
from std_keras.runs import pretrained
from std_keras.runs.run_directory import RunDirectory, write_atomically

_OPTIONS = {
    "name": Option(topic=MODEL, help="What the weights are called: std_keras:NAME.", kind=str),
    "output_dir": shared_options.saying(
        shared_options.OUTPUT_DIR, "Where the folder NAME is made; inside the package if not given."
    ),
    "data_dir": shared_options.DATA_DIR,
    "max_accuracy_drop": shared_options.saying(
        shared_options.MAX_ACCURACY_DROP,
        "Refuse if top-1 on the test split changes by more than this fraction.",
    ),
    "max_megabytes": Option(
        topic=RUN, help="Refuse if the file is larger.", kind=float, **POSITIVE
    ),
    "notes": Option(topic=MODEL, help="A sentence on its limits, for the model card.", kind=str),
    "overwrite": Option(topic=RUN, help="Replace a folder of that name.", kind=bool),
}
_DEFAULTS = {"max_accuracy_drop": 0.001, "max_megabytes": 5.0, "overwrite": False}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags, packs, and prints where."""
    parsed = flags.parse(
        arguments,
        program="std-keras pack",
        about="Makes std_keras:NAME of a finished run: float16 weights, a model card, checksums.",
        options=_OPTIONS,
        defaults=_DEFAULTS,
        required=("name",),
        words="RUN",
        single=True,
    )
    (place,) = parsed["RUN"]
    name, run = parsed["name"], RunDirectory(place)
    if not pretrained.is_name(name):
        raise InputError(f"--name={name} names a folder; use letters, digits, _ or -")
    result = run.read_result()
    if not run.model_file.is_file():
        raise InputError(f"{run.path} has no {run.model_file.name}; its training is not finished")
    target = Path(parsed["output_dir"] or pretrained.folder()) / name
    if target.exists() and not parsed["overwrite"]:
        raise InputError(f"--name={name}: {target} is there already; add --overwrite to replace it")
    part = target.with_name(f".{name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _pack(run, part, result=result, parsed=parsed, stop=stop)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print(f"{target}: {(target / 'model.keras').stat().st_size / 1e6:.2f} MB, {target}/README.md")


def _pack(
    run: RunDirectory,
    folder: Path,
    *,
    result: dict[str, Any],
    parsed: dict[str, Any],
    stop: StopRequest,
) -> None:
    quiet.load_tensorflow()
    from std_keras.runs.packing import card, float16

    config = run.read_config()
    packed = RunDirectory(folder)
    # Where the data lay is nobody's business.
    write_atomically(packed.config_file, config.replace(data_dir=None).to_json())
    for file in ("labels.txt", "result.json"):
        shutil.copy(run.path / file, folder / file)
    float16.convert(run.model_file, packed.model_file)
    megabytes = packed.model_file.stat().st_size / 1e6
    if megabytes > parsed["max_megabytes"]:
        raise LimitError(
            f"the weights of {run.path} take {megabytes:.2f} MB in float16, more than "
            f"--max_megabytes={parsed['max_megabytes']}"
        )
    before = _accuracy(run, data_dir=parsed["data_dir"] or config.data.data_dir, stop=stop)
    after = _accuracy(packed, data_dir=parsed["data_dir"] or config.data.data_dir, stop=stop)
    change = abs(after.top1 - before.top1)
    if change > parsed["max_accuracy_drop"]:
        raise LimitError(
            f"float16 changes the top-1 of {run.path} from {before.top1:.4f} to {after.top1:.4f}, "
            f"more than --max_accuracy_drop={parsed['max_accuracy_drop']}"
        )
    text = card.write(
        parsed["name"],
        config=config,
        result=result,
        classes=len(run.read_labels()),
        before=before,
        after=after,
        megabytes=megabytes,
        notes=f"- {parsed['notes']}\n" if parsed["notes"] else "",
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    pretrained.write_checksums(folder)


def _accuracy(run: RunDirectory, *, data_dir: str | None, stop: StopRequest) -> Any:
    """Accuracy of `model.keras` on the whole test split."""
    import tensorflow as tf

    from std_keras import models, progress
    from std_keras.runs.evaluation import Evaluator
    from std_keras.runs.keras_file import load_keras_file
    from std_keras.runs.packing.card import Figures
    from std_keras.training import build

    if stop:
        raise Interrupted("interrupted; nothing was packed")
    model = load_keras_file(run.model_file)
    dataset = build.data_of_run(
        run.path, dataset=None, data_dir=data_dir, model=model, progress=progress.track
    )
    figures = Evaluator(
        models.heads_model(model),
        source=dataset.test,
        batch_size=250,
        strategy=tf.distribute.get_strategy(),
    ).run(stop=lambda: bool(stop))[build.default_head(model)]
    return Figures(top1=figures.top1, top5=figures.top5)
