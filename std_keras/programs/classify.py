"""`std-keras classify`: classifies images with an exported TFLite file, without TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Sequence

from std_keras.config.option import COUNT, DATA, MODEL, Option
from std_keras.programs import flags, program, shared_options
from std_keras.programs.program import StopRequest

_OPTIONS = {
    "model": Option(
        topic=MODEL,
        help="A .tflite file written by std-keras export; it includes its class names and "
        "preprocessing.",
        kind=str,
    ),
    "top_k": Option(topic=DATA, help="Number of classes to show per image.", kind=int, **COUNT),
    "json": Option(
        topic=DATA,
        help="Print one JSON object per line: the image, and its predictions with label, index, "
        "probability and logit.",
        kind=bool,
    ),
    "threads": shared_options.THREADS,
}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags and prints the predictions of each image as soon as it is classified."""
    parsed = flags.parse(
        arguments,
        program="std-keras classify",
        about="Classifies images with an exported TFLite file. IMAGE is a file that Pillow can "
        "read, a folder (all images in and below it), or a pattern such as 'photos/*.jpg'.",
        options=_OPTIONS,
        defaults={"top_k": 5, "json": False, "threads": 1},
        required=("model",),
        words="IMAGE",
    )

    from std_keras.exporting.classifying.pictures import classify

    found = classify(
        parsed["IMAGE"],
        model=parsed["model"],
        top_k=parsed["top_k"],
        threads=parsed["threads"],
        stop=lambda: bool(stop),
    )
    for picture in found:
        if parsed["json"]:
            print(json.dumps(picture.as_dict(), ensure_ascii=False), flush=True)
        else:
            print(_printable(str(picture.image)))
            for one in picture.predictions:
                print(f"  {one.probability:6.1%}  {_printable(one.label)}", flush=True)


def _printable(text: str) -> str:
    """Without control characters, which an untrusted file name or label may contain."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def console() -> None:
    """Entry point of the console program."""
    program.console(main)


if __name__ == "__main__":
    console()
