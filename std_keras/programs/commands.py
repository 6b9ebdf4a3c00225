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
        group: what one does with it: one of `GROUPS`.
        about: what it does, in one line.
        module: the file of `std_keras/programs/` whose `main(arguments, stop)` it is.
        aliases: other names that it answers to.
    """

    group: str
    about: str
    module: str
    aliases: tuple[str, ...] = ()


DATA, TRAIN, LOOK, SHIP = "data", "train", "look", "ship"
GROUPS: Mapping[str, str] = {
    DATA: "Data: images, weights, and what teachers say of them",
    TRAIN: "Train: a run, several, or one again",
    LOOK: "Look: what a run learned, and how well",
    SHIP: "Ship: to a device, or to others",
}
_PREVIEW = "draw what an augmentation preset makes of your photographs"
COMMANDS: Mapping[str, Command] = {
    "resize-images": Command(DATA, "copy a folder of images at a smaller size", "resize_images"),
    "preview": Command(DATA, _PREVIEW, "preview", aliases=("contact-sheet",)),
    "convert": Command(DATA, "make a run directory of PyTorch or Flax weights", "convert"),
    "resize-weights": Command(DATA, "adapt a Mixer to another image size", "resize_weights"),
    "precompute": Command(DATA, "store the teachers' predictions ahead", "precompute"),
    "train": Command(TRAIN, "train a student, a baseline or a teacher", "train"),
    "launch": Command(TRAIN, "train with several processes of this machine", "launch"),
    "sweep": Command(TRAIN, "train all arms and seeds of a study, with tables", "sweep"),
    "replay": Command(TRAIN, "find what broke in a non-finite training", "replay"),
    "evaluate": Command(LOOK, "measure a run's accuracy, head by head", "evaluate"),
    "analyze": Command(LOOK, "look into what a student learned, on an HTML page", "analyze"),
    "report": Command(LOOK, "compare runs on an HTML page", "report"),
    "export": Command(SHIP, "write SavedModel and TFLite files, checked", "export"),
    "classify": Command(SHIP, "classify pictures with a TFLite file", "classify"),
    "pack": Command(SHIP, "pack a run's weights as std_keras:NAME", "pack"),
}


def find(name: str) -> Command:
    """The command of a name; underscores count as dashes.

    Raises:
        InputError: if there is none.
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
        "Trains small vision MLPs with the help of teachers, and exports them for phones.",
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
