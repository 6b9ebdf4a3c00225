"""`std-keras classify`: what an exported TFLite file sees in pictures; no TensorFlow."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator, Sequence

from std_keras.config.option import COUNT, DATA, MODEL, Option
from std_keras.errors import InputError, Interrupted
from std_keras.programs import flags, program, shared_options
from std_keras.programs.program import StopRequest

_OPTIONS = {
    "model": Option(
        topic=MODEL,
        help="A .tflite file that std-keras export wrote; its class names, and how it "
        "wants its pictures, are inside.",
        kind=str,
    ),
    "top_k": Option(
        topic=DATA, help="How many classes are shown for each picture.", kind=int, **COUNT
    ),
    "json": Option(
        topic=DATA,
        help="Prints one JSON object a line: the image, and its predictions with label, index, "
        "probability and logit.",
        kind=bool,
    ),
    "threads": shared_options.THREADS,
}


def main(arguments: Sequence[str], stop: StopRequest) -> None:
    """Parses the flags and prints the predictions of each picture as soon as they are there."""
    parsed = flags.parse(
        arguments,
        program="std-keras classify",
        about="Classifies pictures with an exported TFLite file. IMAGE is a file that Pillow can "
        "read, a folder (all pictures in and below it), or a pattern such as 'photos/*.jpg'.",
        options=_OPTIONS,
        defaults={"top_k": 5, "json": False, "threads": 1},
        required=("model",),
        words="IMAGE",
    )

    from std_keras.exporting import classifying

    classifier = classifying.Classifier(parsed["model"], threads=parsed["threads"])
    seen, failures = 0, []
    for path in _files(parsed["IMAGE"], extensions=classifying.extensions()):
        if stop:
            raise Interrupted(f"interrupted after {seen} pictures")
        seen += 1
        try:
            image = classifying.open_picture(path, channels=classifier.card.channels)
        except InputError as error:
            failures.append(str(error))
            continue
        predictions = classifier.classify(image, top_k=parsed["top_k"])
        if parsed["json"]:
            found = [vars(prediction) for prediction in predictions]
            print(json.dumps({"image": path, "predictions": found}, ensure_ascii=False), flush=True)
        else:
            print(_printable(path))
            for one in predictions:
                print(f"  {one.probability:6.1%}  {_printable(one.label)}", flush=True)
    if len(failures) == 1:
        raise InputError(failures[0])
    if failures:
        raise InputError(
            f"{len(failures)} of {seen} pictures cannot be classified: " + "; ".join(failures)
        )


def _files(words: Sequence[str], *, extensions: frozenset[str]) -> Iterator[str]:
    """The files that the words name; a folder's pictures in the order of their names.

    Raises:
        InputError: a word names nothing.
    """
    for word in words:
        if os.path.isdir(word):
            found = [
                os.path.join(folder, name)
                for folder, folders, names in os.walk(word)
                for name in names
                if _counts(os.path.relpath(os.path.join(folder, name), word), extensions)
            ]
            if not found:
                raise InputError(f"the folder {word} has no pictures")
            yield from sorted(found)
        elif not os.path.lexists(word) and glob.has_magic(word):
            found = sorted(glob.glob(word, recursive=True))
            if not found:
                raise InputError(f"the pattern {word} matches no file")
            yield from found
        else:
            yield word  # If it is not there, opening it says so.


def _counts(path: str, extensions: frozenset[str]) -> bool:
    """Whether a file of a folder is a picture; hidden files and folders do not count."""
    hidden = any(part.startswith(".") for part in path.split(os.sep))
    return not hidden and os.path.splitext(path)[1].lower() in extensions


def _printable(text: str) -> str:
    """Without characters that would command the terminal; a file from a stranger may have some."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def console() -> None:
    """Entry point of the console program."""
    program.console(main)


if __name__ == "__main__":
    console()
