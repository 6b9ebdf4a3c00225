"""The commands of `std-keras`: one line each, from which help and lookup are made."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from std_keras.errors import InputError


@dataclass(frozen=True)
class Command:
    """A command, as `std-keras --help` lists it.

    Attributes:
        group: one of `GROUPS`.
        about: what it does, in one line.
        module: the module in `std_keras/programs/` whose `main(arguments, stop)` runs it.
        aliases: other names for it.
    """

    group: str
    about: str
    module: str
    aliases: tuple[str, ...] = ()


DATA, TRAIN, LOOK, SHIP = "data", "train", "look", "ship"
GROUPS: Mapping[str, str] = {
    DATA: "Data: images, weights and teacher predictions",
    TRAIN: "Train: one run, many, or a failed one again",
    LOOK: "Look: evaluate, analyze and compare runs",
    SHIP: "Ship: to devices and to other people",
}
_PREVIEW = "draw your images under each augmentation preset"
COMMANDS: Mapping[str, Command] = {
    "resize-images": Command(DATA, "copy a folder of images at a smaller size", "resize_images"),
    "preview": Command(DATA, _PREVIEW, "preview", aliases=("contact-sheet",)),
    "convert": Command(DATA, "convert PyTorch or Flax weights to a run directory", "convert"),
    "resize-weights": Command(DATA, "adapt a Mixer to another image size", "resize_weights"),
    "precompute": Command(DATA, "store teacher predictions ahead of training", "precompute"),
    "check-teacher": Command(DATA, "try a teacher before training with it", "check_teacher"),
    "teach": Command(TRAIN, "make a teacher for your classes from a trained network", "teach"),
    "train": Command(TRAIN, "train a student, a baseline or a teacher", "train"),
    "launch": Command(TRAIN, "train with several processes on this machine", "launch"),
    "sweep": Command(TRAIN, "run all arms and seeds of a study, with tables", "sweep"),
    "replay": Command(TRAIN, "find the cause of a non-finite loss", "replay"),
    "evaluate": Command(LOOK, "measure the accuracy of every head of a run", "evaluate"),
    "analyze": Command(LOOK, "analyze what a student learned, on an HTML page", "analyze"),
    "report": Command(LOOK, "compare runs on an HTML page", "report"),
    "compare": Command(LOOK, "say which exported file of several runs to ship", "compare"),
    "export": Command(SHIP, "write and check SavedModel and TFLite files", "export"),
    "classify": Command(SHIP, "classify images with a TFLite file", "classify"),
    "pack": Command(SHIP, "pack a run's weights as std_keras:NAME", "pack"),
}


def find(name: str) -> Command:
    """The command of a name; underscores count as dashes.

    Raises:
        InputError: if there is no such command.
    """
    known = dict(COMMANDS)
    for command in COMMANDS.values():
        known |= dict.fromkeys(command.aliases, command)
    dashed = name.replace("_", "-")
    if dashed in known:
        return known[dashed]
    near = difflib.get_close_matches(dashed, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "std-keras --help lists the commands"
    raise InputError(f"{name!r} is not a command; {hint}")


def help_text() -> str:
    """The help page of `std-keras`."""
    lines = [
        "Distils vision MLPs from trained teachers, and exports them for phones.",
        "",
        "Usage: std-keras COMMAND --name=value ...",
        "std-keras COMMAND --help lists the flags of a command.",
    ]
    width = max(map(len, COMMANDS))
    for group, title in GROUPS.items():
        lines += ["", title]
        for name, command in COMMANDS.items():
            if command.group == group:
                lines.append(f"  {name:<{width}}  {command.about}")
    return "\n".join(lines)
