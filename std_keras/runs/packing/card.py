"""The model card: what packed weights are, from what, how good, and what they are not for."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from std_keras.config import TrainConfig
from std_keras.research.sweeps.plan import arguments_of
from std_keras.runs.origin import LICENSE, chain
from std_keras.runs.packing import keras_folder
from std_keras.runs.run_directory import RunDirectory

_DATA = {
    "cifar100": (
        "CIFAR-100 (Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images): "
        "50,000 training and 10,000 test photographs of 32 x 32 pixels. Its authors name no "
        "licence; the photographs come from the web."
    ),
    "cifar10": (
        "CIFAR-10 (Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images). Its "
        "authors name no licence; the photographs come from the web."
    ),
    "digits": (
        "scikit-learn's digits (UCI Optical Recognition of Handwritten Digits, CC BY 4.0): 1,797 "
        "images of 8 x 8 pixels, a fifth of them for the test."
    ),
}


# Those among the identifiers that the hub knows which weights have; others are "other".
_HUB_LICENSES = frozenset(
    (
        *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "unlicense", "openrail"),
        *("cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
        *("gpl-2.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "unknown", "other"),
    )
)


@dataclass(frozen=True)
class Figures:
    """Accuracy on the test split, as fractions."""

    top1: float
    top5: float


def packed(
    *, before: Figures, after: Figures, license: str, notes: str | None
) -> dict[str, dict[str, float] | str | None]:
    """What `result.json` of packed weights has under "packed".

    Args:
        before: accuracy of the run's model.
        after: accuracy of the packed model.
        license: of the weights.
        notes: more on limits, from the one who packed.
    """
    figures = {"float32": asdict(before), "float16": asdict(after)}
    return {"license": license, "notes": notes, **figures}


def of_folder(folder: RunDirectory, *, name: str) -> str:
    """The card of packed weights, from the other files of their folder.

    Args:
        folder: the packed weights.
        name: what they are called.
    """
    result = folder.read_result()
    return _write(
        name,
        config=folder.read_config(),
        result=result,
        classes=len(folder.read_labels()),
        before=Figures(**result["packed"]["float32"]),
        after=Figures(**result["packed"]["float16"]),
        megabytes=folder.model_file.stat().st_size / 1e6,
        license=result["packed"]["license"],
        has_text=(folder.path / LICENSE).is_file(),
        notes=f"- {result['packed']['notes']}\n" if result["packed"]["notes"] else "",
        for_hub=(folder.path / keras_folder.WEIGHTS).is_file(),
    )


def _write(
    name: str,
    *,
    config: TrainConfig,
    result: Mapping[str, Any],
    classes: int,
    before: Figures,
    after: Figures,
    megabytes: float,
    license: str,
    has_text: bool,
    notes: str,
    for_hub: bool,
) -> str:
    data = _DATA.get(config.data.dataset, f"`{config.data.dataset}`; see its own terms of use.")
    size = config.data.image_size
    seconds = result.get("train_seconds")
    took = f", {seconds:,.0f} s of training" if seconds else ""
    teachers = config.distillation.teachers if config.distillation.uses_teachers else ()
    taught = f"It learned from {', '.join(f'`{t}`' for t in teachers)} too. " if teachers else ""
    limited = ""
    if config.data.max_train_examples or config.data.max_test_examples:
        limited = (
            f"\n- **Trained on {config.data.max_train_examples or 'all'} and tested on "
            f"{config.data.max_test_examples or 'all'} examples only: a trial.**"
        )
    # The figures of a training in bfloat16 were measured in it; these are of float32.
    row, precision = "", ""
    if config.performance.mixed_precision:
        row = f"| as trained, bfloat16 | {result['top1']:.2%} | {result['top5']:.2%} |\n"
        precision = " --mixed_precision"
    held_out = (
        f"A part of {config.data.validation_fraction:g} of train was held out. "
        if config.data.validation_fraction
        else ""
    )
    origin = result.get("origin") or {}
    stated = ""
    if origin.get("license") == license:
        stated = ", as their origin states"
    elif origin.get("license"):
        stated = f" (their origin states {origin['license']})"
    if origin.get("kind") in ("converted", "resized"):  # Neither is a training.
        recipe = _origin(origin)
    elif not result["steps"]:
        recipe = f"""\
{_origin(origin)}
## Recipe

A linear class head on {result["taught"]["features"]:,} features of that network, made by
`std_keras.teach`{took}."""
    else:
        options = shlex.join(arguments_of(config, shaping=True))
        recipe = f"""\
{_origin(origin)}## Recipe

{result["epochs"]} epochs, {result["steps"]:,} steps{took}. {taught}Made by `std_keras.train` with

    {options}{precision}"""
    text = "; `LICENSE` has its text" if has_text else ""
    hub = ""
    if for_hub:
        hub = f"""\
Uploaded to the Hugging Face hub it is `hf-hub:ORG/{name}` in the same places; in Keras, after
`import std_keras`, `keras.saving.load_model("hf://ORG/{name}")`.

"""
    return f"""\
{_header(name, config=config, origin=origin, license=license, after=after)}
# {name}

`{config.model.name}` for images of {size} x {size} pixels and {classes} classes,
{result["parameters"]:,} trainable parameters, weights in float16 ({megabytes:.2f} MB).

    --teacher=std_keras:{name}
    std-keras evaluate --model_dir=std_keras:{name}

{hub}## Accuracy on the test split

| weights | top-1 | top-5 |
| --- | ---: | ---: |
{row}| as trained, float32 | {before.top1:.2%} | {before.top5:.2%} |
| packed, float16 | {after.top1:.2%} | {after.top5:.2%} |

{_measured(config, result, origin)}

## Data

{data} {held_out}Pixels are 0 to 255; the model normalises them itself. `labels.txt` has the
classes in the order of the logits.

{recipe}

## Licence

The weights: {license}{stated}{text}. The data has terms of its own, above.

## Limits

- It knows the classes of its data set and no others, and gives one of them to every image.
- It was tested on images of the same origin as those it learned from; nothing is known of others,
  of fairness, or of robustness.
- Meant for teaching students and for comparing methods, not for decisions about people.{limited}
{notes}"""


def _header(
    name: str,
    *,
    config: TrainConfig,
    origin: Mapping[str, Any],
    license: str,
    after: Figures,
) -> str:
    """What the Hugging Face hub reads: YAML, of which JSON is a part."""
    about: dict[str, Any] = {"license": license}
    if license not in _HUB_LICENSES:
        about = {"license": "other", "license_name": license}
    about |= {
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "keras", "std_keras", config.model.name],
        "metrics": ["accuracy"],
    }
    for link in chain(origin):
        if str(link.get("source")).startswith("hf-hub:"):
            about["base_model"] = link["source"].removeprefix("hf-hub:").partition("@")[0]
            break
    # A folder's place is nobody's business.
    dataset = config.data.dataset.split(":")[0]
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": dataset, "type": dataset, "split": "test"},
        "metrics": [
            {"type": "accuracy", "name": "top-1", "value": after.top1},
            {"type": "accuracy", "name": "top-5", "value": after.top5},
        ],
    }
    about["model-index"] = [{"name": name, "results": [result]}]
    lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in about.items())
    return f"---\n{lines}---\n"


def _measured(config: TrainConfig, result: Mapping[str, Any], origin: Mapping[str, Any]) -> str:
    if origin.get("kind") in ("converted", "resized"):
        return "Measured here, on the whole test split."
    return (
        f"After the last epoch, {result.get('weights', 'raw')} weights, "
        f"{result.get('head', 'one')} head;\none run with `--seed={config.optimization.seed} "
        f"--data_seed={config.data.data_seed}`, so without a\nspread."
    )


def _origin(origin: Mapping[str, Any]) -> str:
    """Where weights are from that were not new: a paragraph for each step back."""
    if not origin:
        return ""
    told = [_link(link, first=link is origin) for link in chain(origin)]
    return "## Origin\n\n" + "\n".join(told) + "\n"


def _link(link: Mapping[str, Any], *, first: bool) -> str:
    source = f"`{link.get('source', link.get('file', link.get('run')))}`"
    licence = f"licence: {link.get('license') or 'not stated'}"
    files = {link["file"]: link["sha256"]} if link.get("file") else {}
    files |= link.get("parts") or {}
    lines = "".join(f"    {digest}  {name}\n" for name, digest in files.items())
    checksum = f"\n{lines}" if lines else ""
    if link["kind"] == "started":
        who = "The training started from" if first else "That started from"
        return f"{who} {source} ({licence}).\n{checksum}"
    who = "Not trained here:" if first else "That was not trained here:"
    if link["kind"] == "resized":
        return f"""\
{who} resized by `std_keras.resize_weights` from {source} ({licence}), from images of
{link["image_size_before"]} pixels to {link["image_size"]}, token mixing {link["token_mixing"]}.
{checksum}"""
    commit = f", revision {link['commit']}" if link.get("commit") else ""
    mean, std = (", ".join(f"{v:g}" for v in link[name]) for name in ("mean", "std"))
    labels = f" The classes are {link['labels']}." if link.get("labels") else ""
    return f"""\
{who} converted by `std_keras.convert` from {source}{commit} ({licence}),
{link["code"]}.
{checksum}
Images are normalised with mean {mean} and standard deviation {std}.{labels}
"""
