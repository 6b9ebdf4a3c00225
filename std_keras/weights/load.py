"""Fills a Keras model from named arrays, and accounts for every one of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np

from std_keras import progress
from std_keras.weights.layout import Layout


@dataclass(frozen=True)
class LoadReport:
    """What went where.

    Attributes:
        loaded: paths of the model's weights that got a value.
        missing: paths of those that did not, and why.
        unused: names in the file that nothing uses.
        unneeded: names in the file that hold nothing for this project, and why.
    """

    loaded: tuple[str, ...]
    missing: Mapping[str, str]
    unused: tuple[str, ...]
    unneeded: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Whether every weight was found and every array used."""
        return not self.missing and not self.unused


def log_report(report: LoadReport) -> None:
    """Logs what was left out, what is missing, and what nothing uses."""
    reasons = Counter(report.unneeded.values())
    for why, count in reasons.items():
        progress.say(f"left out: {count} array(s), {why}")
    for path, why in report.missing.items():
        progress.warn(f"missing: {path}: {why}")
    for name in report.unused:
        progress.warn(f"unused: {name}")


def load_weights(
    model: keras.Model, tensors: Mapping[str, np.ndarray], *, layout: Layout, assign: bool = True
) -> LoadReport:
    """Puts every array of a file into its weight, as far as they fit.

    Args:
        model: of a family that the layout applies to; changed in place.
        tensors: the file's arrays by name.
        layout: what the names mean.
        assign: False to find out what would be done.

    Returns:
        What was loaded, and what was not; nothing is raised for it.

    Raises:
        InputError: if a buffer that is compared, not loaded, does not fit this model.
    """
    if layout.check is not None:
        layout.check(model, tensors)
    entries = {entry.target: entry for entry in layout.entries(model)}
    used: set[str] = set()
    loaded: list[str] = []
    missing: dict[str, str] = {}
    for weight in model.weights:
        path = weight.path
        if is_random_state(weight):
            continue
        entry = entries.get(path)
        if entry is None:
            missing[path] = "the layout does not have it"
            continue
        absent = [name for name in entry.sources if name not in tensors]
        if absent:
            missing[path] = f"the file has no {', '.join(absent)}"
            continue
        used.update(entry.sources)
        value = entry.transform(*(tensors[name] for name in entry.sources))
        if tuple(value.shape) != tuple(weight.shape):
            missing[path] = (
                f"{', '.join(entry.sources)} gives shape {tuple(value.shape)}, "
                f"the model has {tuple(weight.shape)}"
            )
            continue
        if assign:
            weight.assign(np.asarray(value, np.float32))
        loaded.append(path)
    unneeded, unused = {}, []
    for name in tensors:
        if name in used:
            continue
        reason = next((why for form, why in layout.unneeded if re.fullmatch(form, name)), None)
        if reason is None:
            unused.append(name)
        else:
            unneeded[name] = reason
    return LoadReport(tuple(loaded), missing, tuple(unused), unneeded)


def is_random_state(weight: keras.Variable) -> bool:
    """Whether a variable is the state of a random layer, not a weight that anyone trained."""
    return "seed" in weight.path.rsplit("/", 1)[-1]
