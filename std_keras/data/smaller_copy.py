"""A smaller copy of a folder of images, made once, so that training need not scale large pictures.

The copy has the same folders and files. Each picture's shorter side becomes `size`, the other one
follows; smaller JPEGs and PNGs that stand upright and are opaque are copied as they are. So nothing
is left in the copy that another program could read differently. A file appears under its name only
when it is complete, so that a copy that was cut off, however rudely, goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import tensorflow as tf

from std_keras import progress as progress_
from std_keras.data.header import tensorflow_turn
from std_keras.data.images import read_image, resize_pixels
from std_keras.data.source import Progress, no_progress
from std_keras.errors import InputError, Interrupted
from std_keras.files.output_folder import make_output_dir
from std_keras.files.paths import user_path
from std_keras.files.picture_file import check_whole
from std_keras.files.picture_folder import FolderContents, list_pictures, said_left_out

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
_UNFINISHED = ".unfinished-"  # Hidden: nothing that reads a folder of images takes them for one.
_OPTIONS_FILE = ".smaller_copy.json"
_LIMITS = {"size": (1, 65535), "quality": (1, 100), "workers": (0, 1024)}
_NAMED = 20  # So many unreadable files are named.


@dataclasses.dataclass(frozen=True)
class SmallerCopy:
    """What was done.

    Attributes:
        total: images in the source.
        written: images written now.
        kept: images that were there from an earlier call.
        corrupt: files that cannot be decoded.
        complete: False if `stop` ended it.
    """

    total: int
    written: int
    kept: int
    corrupt: tuple[str, ...]
    complete: bool


def resize_images(
    source: str | os.PathLike[str],
    *,
    output_dir: str | os.PathLike[str],
    size: int,
    quality: int = 90,
    corrupt_images: str = "refuse",
    workers: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> SmallerCopy:
    """Writes a smaller copy of a folder of images; the same call again continues one.

    Args:
        source: a directory with images, at any depth.
        output_dir: new, empty, or of an earlier call with the same options.
        size: pixels of the shorter side.
        quality: of JPEG, 1..100.
        corrupt_images: all readable images are written; then "refuse" raises if there were others,
            "skip" does not.
        workers: threads; one for each processor if 0.
        stop: asked between images; once true, the work ends.

    Raises:
        InputError: for directories that cannot serve, options outside their limits, or images
            that cannot be decoded.
        Interrupted: because `stop()` was true.
    """
    if corrupt_images not in ("refuse", "skip"):
        raise InputError(f"corrupt_images={corrupt_images} must be refuse or skip")
    given = {"size": size, "quality": quality, "workers": workers}
    for name, (least, most) in _LIMITS.items():
        if not least <= given[name] <= most:
            raise InputError(f"{name}={given[name]} must be in {least} to {most}")
    done = write_smaller_copy(
        source,
        output_dir,
        size=size,
        quality=quality,
        workers=workers or None,
        progress=progress_.track,
        stop=stop,
    )
    if not done.complete:
        raise Interrupted(
            f"interrupted after {done.kept + done.written} of {done.total} images; run the same "
            "command to continue"
        )
    for path in done.corrupt[:_NAMED]:
        progress_.warn(f"cannot decode {path}")
    if len(done.corrupt) > _NAMED:
        progress_.warn(f"and {len(done.corrupt) - _NAMED} more")
    if done.corrupt and corrupt_images == "refuse":
        raise InputError(
            f"source={source}: {len(done.corrupt)} of {done.total} images cannot be decoded, "
            f"{done.corrupt[0]} for one; repair or remove them and run this again, or pass "
            "corrupt_images=skip"
        )
    skipped = f", {len(done.corrupt)} skipped" if done.corrupt else ""
    progress_.say(f"{output_dir}: {done.written} images written, {done.kept} were there{skipped}")
    return done


def write_smaller_copy(
    source: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    size: int,
    quality: int = 90,
    workers: int | None = None,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> SmallerCopy:
    """Writes what is missing of the copy.

    JPEG stays JPEG; other formats become PNG, with `.png` behind their name if it is another. Files
    whose source is newer are written again. Pixels are decoded and scaled as for training: upright,
    opaque, bicubic with antialiasing. Links are followed.

    Args:
        source: a directory with images, at any depth; hidden files and folders do not count.
        output_dir: new, empty, or of an earlier call with the same options.
        size: pixels of the shorter side.
        quality: of JPEG, 1..100.
        workers: threads; one for each processor if None.
        progress: wraps the loop over images, see `Progress`.
        stop: asked between images; True ends the work early.

    Raises:
        InputError: for directories that cannot serve.
    """
    source, output_dir = user_path(source), user_path(output_dir)
    if not source.is_dir():
        raise InputError(f"source={source}: no such directory")
    inner, outer = output_dir.resolve(), source.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        raise InputError(
            f"output_dir={output_dir}: must lie outside of source={source}, and not contain it"
        )
    found = _find_images(source)
    warning = said_left_out(str(source), found.left_out)
    if not found.pictures:
        others = "" if warning is None else f" ({warning})"
        raise InputError(f"source={source}: there are no images that can be read{others}")
    names = [os.path.relpath(path, source) for path in found.pictures]
    _claim(output_dir, {"source": str(outer), "size": size, "quality": quality})
    _remove_unfinished(output_dir)
    if warning is not None:
        progress_.warn(warning)
    targets = {name: _target_name(name) for name in names}
    missing = [n for n in names if not _is_done(source / n, output_dir / targets[n])]
    for folder in {os.path.dirname(targets[name]) for name in missing}:
        os.makedirs(output_dir / folder, exist_ok=True)
    shrink = tf.function(
        lambda path, turn: resize_pixels(read_image(path, turn), size),
        input_signature=[tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int32)],
    )

    def copy(name: str) -> bool:
        """Whether it could be decoded."""
        path = str(source / name)
        try:
            check_whole(path)
            turn = tensorflow_turn(path)
            pixels, smaller = shrink(os.fsencode(path), turn)
        except (tf.errors.OpError, InputError, OSError):
            return False
        target = output_dir / targets[name]
        unfinished = target.with_name(f"{_UNFINISHED}{target.name}")
        if turn == 1 and not bool(smaller):
            shutil.copyfile(source / name, unfinished)
        elif target.suffix.lower() in _JPEG:
            unfinished.write_bytes(tf.io.encode_jpeg(pixels, quality=quality).numpy())
        else:
            unfinished.write_bytes(tf.io.encode_png(pixels).numpy())
        os.replace(unfinished, target)
        return True

    corrupt: list[str] = []
    written = 0
    results = _in_threads(copy, missing, workers=workers or os.cpu_count() or 1, stop=stop)
    for name, readable in progress(results, total=len(missing), what="writing smaller images"):
        written += readable
        if not readable:
            corrupt.append(str(source / name))
    return SmallerCopy(
        total=len(names),
        written=written,
        kept=len(names) - len(missing),
        corrupt=tuple(sorted(corrupt)),
        complete=written + len(corrupt) == len(missing),
    )


def _in_threads(
    function: Callable[[str], bool],
    names: Sequence[str],
    *,
    workers: int,
    stop: Callable[[], bool],
) -> Iterator[tuple[str, bool]]:
    """(name, function(name)) as they are done; no more than a few wait in line."""
    waiting: dict[Future[bool], str] = {}
    ahead = iter(names)
    with ThreadPoolExecutor(workers) as pool:
        while True:
            while len(waiting) < 4 * workers and not stop():
                name = next(ahead, None)
                if name is None:
                    break
                waiting[pool.submit(function, name)] = name
            if not waiting:
                return
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield waiting.pop(future), future.result()


def _find_images(source: Path) -> FolderContents:
    def fail(error: OSError) -> None:
        raise InputError(f"source={source}: cannot read {error.filename}: {error.strerror}")

    return list_pictures(str(source), fail=fail)


def _target_name(name: str) -> str:
    kept = name.lower().endswith((*_JPEG, ".png"))
    return name if kept else f"{name}.png"


def _is_done(source: Path, target: Path) -> bool:
    try:
        return target.stat().st_mtime >= source.stat().st_mtime
    except FileNotFoundError:
        return False


def _claim(output_dir: Path, options: dict[str, object]) -> None:
    """Takes a new or empty directory, or one of the same options."""
    marker = output_dir / _OPTIONS_FILE
    make_output_dir(output_dir)
    try:
        before = json.loads(marker.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if any(output_dir.iterdir()):
            raise InputError(
                f"output_dir={output_dir}: holds other files; name a new or empty directory"
            ) from error
        unfinished = marker.with_name(f"{_UNFINISHED}options")
        unfinished.write_text(json.dumps(options, indent=2) + "\n", encoding="utf-8")
        os.replace(unfinished, marker)
        return
    except ValueError as error:
        raise InputError(f"output_dir={output_dir}: {marker} cannot be read; remove it") from error
    for name, value in options.items():
        if before.get(name) != value:
            raise InputError(
                f"{name}={value}: {output_dir} was begun with {name}={before.get(name)}; use "
                "that, or another `output_dir`"
            )


def _remove_unfinished(output_dir: Path) -> None:
    for folder, _, files in os.walk(output_dir):
        for name in files:
            if name.startswith(_UNFINISHED):
                os.remove(os.path.join(folder, name))
