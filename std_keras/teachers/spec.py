"""What the description of a teacher means: SOURCE[,option=value,...]."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, field

from std_keras.errors import InputError
from std_keras.files.described_source import split_source
from std_keras.files.paths import user_path
from std_keras.runtimes.image_file import LAYOUTS
from std_keras.teachers.teacher import INPUT_RANGES
from std_keras.weights.located import located

SITES = ("last", "intermediate", "both")
OUTPUTS = ("logits", "probabilities")
OWN = "own"  # labels=own: the names that come with the teacher.
_LEGAL = {
    "site": "|".join(SITES),
    "input": "|".join(INPUT_RANGES),
    "output": "|".join(OUTPUTS),
    "size": "a number of pixels",
    "layout": "|".join(LAYOUTS),
    "labels": "own|a file of class names",
}
# Of a network whose class head is replaced.
_OF_BACKBONES = ("input", "size")


class UnknownRangeError(InputError):
    """Neither a teacher's file nor its description says which range of pixels it expects."""


@dataclass(frozen=True)
class TeacherSpec:
    """One teacher.

    Attributes:
        source: a run directory, a `.keras` file, a SavedModel, an ONNX or TFLite file,
            `keras:NAME`, `keras_hub:PRESET`, `keras_cv:PRESET` or `hf://ORG/NAME`.
            (`std_keras:NAME` and `hf-hub:ORG/NAME` have become run directories, see
            `weights.located`.)
        site: where in the student its token sets read: last, intermediate or both.
        input: the range of pixel values it was trained on (see `INPUT_RANGES`); None to find out.
        output: logits or probabilities; None to find out.
        size: side of its input image in pixels; None for its own, or the student's.
        layout: of an ONNX or TFLite file's input, nhwc or nchw; None to find out.
        labels: a file of its class names in the order of its outputs, one a line, by which they are
            brought into the data set's order; `OWN` for names that come with it; None if they are
            in that order.
        written: the source as the user wrote it, where that has become a run directory.
        flag: the argument that described it, for errors: teacher or backbone.
    """

    source: str
    site: str = "last"
    input: str | None = None
    output: str | None = None
    size: int | None = None
    layout: str | None = None
    labels: str | None = None
    written: str | None = field(default=None, compare=False)
    flag: str = field(default="teacher", compare=False)

    @property
    def name(self) -> str:
        """What messages and results call it: as the user wrote it, not where it lies in a cache."""
        return self.written or self.source


def parse(description: str, *, flag: str = "teacher") -> TeacherSpec:
    """Reads `SOURCE[,option=value]...`; see `split_source` for paths with commas.

    Args:
        description: what the user wrote.
        flag: the argument that it is of: teacher, or backbone, which has fewer options.

    Raises:
        InputError: for an option or a value that does not exist, or packed weights that are not
            there or damaged.
    """
    source, *parts = split_source(description)
    if not source.strip():
        raise InputError(f"{flag}={description!r} names no source; write {flag}=SOURCE[,size=N]")
    allowed = _OF_BACKBONES if flag == "backbone" else tuple(_LEGAL)
    chosen: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        name, value = name.strip(), value.strip()
        if equals and name in _LEGAL and name not in allowed:
            raise InputError(
                f"{flag}={description}: {name} does not apply to a backbone, whose class head is "
                "replaced; leave it out"
            )
        if not equals or name not in allowed:
            options = ", ".join(f"{n}={_LEGAL[n]}" for n in allowed)
            if _is_missing_path(source, part):
                raise InputError(
                    f"{flag}={description}: there is no file or folder of that name, nor of the "
                    f"name {source}; correct the path (behind a comma may stand {options})"
                )
            near = difflib.get_close_matches(name, allowed, n=1)
            hint = f" (did you mean {near[0]}=?)" if near and equals else ""
            raise InputError(
                f"{flag}={description}: {part!r} is not an option{hint}; the options are "
                f"{options}, and no file or folder with a comma in its name is there"
            )
        if name in chosen:
            raise InputError(f"{flag}={description}: {name} is given twice")
        chosen[name] = value
    for name, legal in (
        ("site", SITES),
        ("input", INPUT_RANGES),
        ("output", OUTPUTS),
        ("layout", LAYOUTS),
    ):
        if name in chosen and chosen[name] not in legal:
            raise InputError(
                f"{flag}={description}: {name}={chosen[name]} is not one of {', '.join(legal)}"
            )
    size = chosen.pop("size", None)
    if size is not None and not (size.isdecimal() and int(size) > 0):
        raise InputError(f"{flag}={description}: size={size} is not a number of pixels above 0")
    return TeacherSpec(
        source=located(source, flag=flag),
        size=None if size is None else int(size),
        written=source,
        flag=flag,
        **chosen,
    )


def _is_missing_path(source: str, part: str) -> bool:
    """Whether a source and what stands behind its comma are rather one path that is not there."""
    if os.path.exists(user_path(source)) or ":" in source:
        return False
    return "=" not in part and (os.sep in source + part or "." in part)


def source_of(description: str) -> str:
    """The source alone, with none of the checks of `parse`."""
    return split_source(description)[0]
