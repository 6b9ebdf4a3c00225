"""Writes the table of docs/hub.md: the models of timm on the Hugging Face hub that are built here.

Usage: python -m tools.timm_table

timm says which weights there are; the sizes are found as they are in a file of weights, from the
shapes of a network that holds no numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from std_keras import quiet
from tools import no_flags

PAGE = Path(__file__).resolve().parent.parent / "docs" / "hub.md"
BEGIN, END = "<!-- made by tools.timm_table -->\n\n", "\n<!-- until here -->"
_HEAD = ("`hf-hub:timm/` and", "model", "pixels", "classes", "licence")


def rows(timm: Any) -> list[tuple[str, ...]]:
    """The rows of the table, without its head.

    Args:
        timm: the module `timm.models`.
    """
    from std_keras.weights import timm_config

    found: list[tuple[str, ...]] = []
    for name in timm.list_models(pretrained=True):
        about = timm.get_pretrained_cfg(name)
        if timm_config.family(about.architecture) is None or not about.num_classes:
            continue
        if about.hf_hub_id != f"timm/{name}":
            continue  # The same weights under another name, or somebody else's.
        size, classes = about.input_size[1], about.num_classes
        model = _model(timm, about.architecture)
        license = about.license or "not stated"
        found.append((f"`{name}`", model, str(size), f"{classes:,}", license))
    return found


def table(timm: Any) -> str:
    """The table in Markdown."""
    lines = [_HEAD, ("---", "---", "---:", "---:", "---"), *rows(timm)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


_MODELS: dict[str, str] = {}


def _model(timm: Any, architecture: str) -> str:
    """This project's name of an architecture, with the flags that differ from it."""
    if architecture not in _MODELS:
        _MODELS[architecture] = _found(timm, architecture)
    return _MODELS[architecture]


def _found(timm: Any, architecture: str) -> str:
    import torch

    from std_keras.weights import timm_config
    from std_keras.weights.architecture import find_architecture
    from std_keras.weights.source import SourceWeights

    with torch.device("meta"):
        state: Mapping[str, Any] = timm.create_model(architecture).state_dict()
    read = SourceWeights(Path(architecture), "safetensors", "", dict(state))
    family = timm_config.family(architecture)
    assert family is not None
    found = find_architecture(read, model=None, family=family, given={})
    options = ", ".join(f"`{name}={value}`" for name, value in found.options.items())
    return f"`{found.model}`, {options}" if options else f"`{found.model}`"


def main() -> None:
    """Puts the table into the page."""
    quiet.load_tensorflow()
    from tests.oracles import import_timm

    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(before + BEGIN + table(import_timm()) + END + after, encoding="utf-8")


if __name__ == "__main__":
    no_flags.read(__doc__, program="python -m tools.timm_table")
    main()
