"""Where a teacher is, and what tells it from all others without loading it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from std_keras.errors import InputError
from std_keras.files.paths import user_path
from std_keras.files.texts import normalized, read_text
from std_keras.files.whole_file import UnreadableWholeError, check_whole_file
from std_keras.runs.run_directory import RunDirectory
from std_keras.teachers.spec import OWN, TeacherSpec
from std_keras.teachers.zoos import PREFIXES, preset_folder, zoo_version

Kind = Literal["applications", "zoo", "run", "keras_file", "saved_model", "onnx", "tflite"]
FILES: dict[str, Kind] = {".onnx": "onnx", ".tflite": "tflite"}


def find(spec: TeacherSpec) -> Kind:
    """Of which kind a teacher is.

    Raises:
        InputError: if the source is not a teacher.
    """
    path = user_path(spec.source)
    if spec.source.startswith("keras:"):
        return "applications"
    if spec.source.startswith(PREFIXES):
        return "zoo"
    if RunDirectory(path).exists():
        return "run"
    if path.suffix == ".keras" and path.is_file():
        return "keras_file"
    if (path / "saved_model.pb").is_file():
        return "saved_model"
    if path.suffix.lower() in FILES and path.is_file():
        return FILES[path.suffix.lower()]
    if path.is_file():
        raise InputError(f"{spec.flag}={spec.name} {_advice(path)}")
    if not path.exists() and (path.suffix == ".keras" or path.suffix.lower() in FILES):
        raise InputError(f"{spec.flag}={spec.name} is not there; name a file that exists")
    train = "" if spec.flag == "backbone" else f"train one with model_dir={spec.name} first, or "
    raise InputError(
        f"{spec.flag}={spec.name} is not a run directory (it has no config.json), not a .keras, "
        f".onnx or .tflite file, not a SavedModel and not keras:NAME; {train}name one that exists"
    )


def runs_on_host(spec: TeacherSpec) -> bool:
    """Whether it will run outside TensorFlow; see `Teacher.on_host`."""
    return find(spec) in FILES.values()


def _advice(path: Path) -> str:
    """What to do about a file that is no `.keras` file."""
    suffix = path.suffix.lower()
    if path.name.lower().endswith(".weights.h5"):
        return (
            "holds weights without a model; build the model in Keras, load them with "
            f"model.load_weights({path.name!r}), and save it with model.save('teacher.keras')"
        )
    if suffix in (".h5", ".hdf5"):
        return (
            "is a file of Keras' former format, which may run code when it is loaded; if you trust "
            f"it: keras.models.load_model({path.name!r}).save('{path.stem}.keras'), and name that"
        )
    if suffix in (".pt", ".pth", ".bin", ".npz", ".safetensors"):
        return (
            "is a file of weights; make a run directory of it with std_keras.convert, and name that"
        )
    return (
        "has an unsupported file type: not a .keras, .onnx or .tflite file, not a run directory "
        "and not a SavedModel's folder; name one of these, or keras:NAME"
    )


def identity(
    spec: TeacherSpec, *, bfloat16: bool = False, view_size: int | None = None
) -> dict[str, str]:
    """Everything that shapes a teacher's predictions, by name, without loading it.

    The weights go by the SHA-256 of the file that holds them (of all files of a SavedModel), not by
    their place, so a teacher may be moved. Those of `keras:NAME` and of presets go by their name
    and the library's version.
    `site` is not among it: where the student listens does not change what the teacher predicts.

    Args:
        spec: what the user wrote.
        bfloat16: whether it is to compute in bfloat16.
        view_size: side of the views it sees, if they are not the student's images.

    Raises:
        InputError: if the teacher does not exist, or its files cannot be read.
    """
    path, kind = user_path(spec.source), find(spec)
    if kind == "applications":
        weights = f"{spec.source}, Keras {version('keras')}"
    elif kind == "zoo" and (folder := preset_folder(spec)) is None:
        weights = f"{spec.source}, {zoo_version(spec)}"
    elif kind == "zoo":
        assert folder is not None
        weights = _digest(spec, folder, sorted(p for p in folder.rglob("*") if p.is_file()))
    elif kind == "onnx":
        from std_keras.runtimes import onnx_file  # Most trainings read no such file.

        files = onnx_file.parts(path, name=f"{spec.flag}={spec.name}")
        weights = _digest(spec, path.parent, [path, *files[1:]])
    elif kind == "saved_model":
        parts = [path / "saved_model.pb", *(path / "variables").rglob("*")]
        parts += (path / "assets").rglob("*")
        weights = _digest(spec, path, sorted(p for p in parts if p.is_file()))
    else:
        file = RunDirectory(path).model_file if kind == "run" else path
        if not file.is_file():
            raise InputError(unfinished(spec))
        weights = _digest(spec, file.parent, [file])
    # A run's model normalises its images itself; the others are told the range of pixels.
    given = {
        "input": spec.input,
        "output": spec.output,
        "size": spec.size,
        "layout": spec.layout,
        "labels": None if spec.labels is None else _digest_of_labels(spec),
    }
    named = {f"teacher {name}": str(value) for name, value in given.items() if value is not None}
    if view_size is not None:
        named["teacher view"] = str(view_size)
    if bfloat16 and kind not in ("saved_model", "onnx", "tflite"):
        named["teacher precision"] = "bfloat16"
    return {"teacher weights": weights, **named}


def _digest_of_labels(spec: TeacherSpec) -> str:
    if spec.labels == OWN:
        path = user_path(spec.source)
        beside = (folder / "labels.txt" for folder in (path, path.parent))
        names = tuple(name for file in beside if file.is_file() for name in (read_text(file),))
    else:
        names = named_classes(spec)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def named_classes(spec: TeacherSpec) -> tuple[str, ...]:
    """The class names in the file that `labels` names.

    Raises:
        InputError: if it cannot be read, or names a class twice.
    """
    assert spec.labels is not None
    try:
        names = normalized(read_text(user_path(spec.labels)).splitlines())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise InputError(
            f"{spec.flag}={spec.name},labels={spec.labels} cannot be read: {reason}"
        ) from error
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"{spec.flag}={spec.name},labels={spec.labels} names the class {twice!r} twice"
        )
    return names


def unfinished(spec: TeacherSpec) -> str:
    """The message about a run directory without a model."""
    return (
        f"{spec.flag}={spec.name} is a run directory without model.keras; its training is not "
        "finished, run its command again to continue"
    )


def _digest(spec: TeacherSpec, folder: Path, files: Sequence[Path]) -> str:
    """SHA-256 of files, and of their names if there are several."""
    total = hashlib.sha256()
    for path in files:
        try:
            check_whole_file(path)
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "sha256")
        except UnreadableWholeError as error:
            raise InputError(f"{spec.flag}={spec.name}: {path} {error}") from error
        except OSError as error:
            raise InputError(
                f"{spec.flag}={spec.name}: {path} cannot be read: {error.strerror}"
            ) from error
        if len(files) == 1:
            return content.hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()} {content.hexdigest()}\n".encode())
    return total.hexdigest()
