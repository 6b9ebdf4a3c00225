"""A model's folder on the Hugging Face hub, `hf-hub:ORG/NAME[@REVISION]`, or a copy of one.

What is in `huggingface_hub`'s cache is taken from there and the network is not asked, so that a
training which goes on sees the weights that it began with. What is not there is downloaded, once.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from std_keras.errors import DISK_FAULTS, InputError, reason_of
from std_keras.extras import imported
from std_keras.files.paths import user_path
from std_keras.files.texts import read_text
from std_keras.runs import pretrained
from std_keras.runs.origin import LICENSE
from std_keras.weights.file_names import WEIGHT_FILES

PREFIX = "hf-hub:"
CONFIG = "config.json"
_CARD = "README.md"
_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[^@]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LARGEST_CONFIG = 16 * 2**20
_LICENSE_NAME = re.compile(r"[\w.+-]{1,100}")
_LICENSE = re.compile(r"^license:\s*['\"]?([\w.+-]+)", re.MULTILINE)
_HEADER = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Repository:
    """A folder with a model's description and its weights, all of them on this machine.

    Attributes:
        name: how the user named it.
        path: the folder.
        config: what `config.json` holds.
        weights: the file of weights, or the index of several; None in a run of this project.
        license: as the model card states it, such as "apache-2.0", or `config.json` where there is
            no card; None if neither does.
        commit: the revision on the hub; None for a folder that was not fetched from there.
    """

    name: str
    path: Path
    config: dict[str, Any]
    weights: Path | None
    license: str | None
    commit: str | None = None

    @property
    def is_run(self) -> bool:
        """Whether it is a run directory of this project, as `std-keras pack` makes one."""
        return self.weights is None


def find(source: str | os.PathLike[str], *, flag: str = "source") -> Repository | None:
    """What `hf-hub:ORG/NAME` names, fetched if it is not in the cache, or what lies in a folder.

    Args:
        source: what the user named.
        flag: the argument that named it, for errors.

    Returns:
        None for a source of another kind.

    Raises:
        InputError: if it cannot be had, or has no weights.
    """
    text = os.fspath(source)
    if text.startswith(PREFIX):
        return _Hub(text, flag=flag).fetch()
    folder = user_path(text)
    if not (folder / CONFIG).is_file() or (folder / "model.keras").is_file():
        return None
    weights = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if weights is None:
        return None
    config = _read_config(folder / CONFIG, named=f"{flag}={text}")
    return Repository(text, folder, config, weights, _license(folder / _CARD, config))


class _Hub:
    """Fetches the files of one repository."""

    def __init__(self, source: str, *, flag: str) -> None:
        self._source = source
        self._named = f"{flag}={source}"
        written = source.removeprefix(PREFIX)
        if not _NAME.fullmatch(written):
            raise InputError(
                f"{self._named} must be {PREFIX}ORG/NAME, as in {PREFIX}timm/mixer_b16_224."
                f"goog_in21k_ft_in1k, or {PREFIX}ORG/NAME@REVISION"
            )
        self._repo, _, revision = written.partition("@")
        self._revision = revision or None
        self._answered = False  # Whether something had to be asked of the hub, and it answered.
        imported("huggingface_hub", needed_by=self._named)
        from huggingface_hub import constants, errors, hf_hub_download

        self._download, self._errors, self._constants = hf_hub_download, errors, constants

    def fetch(self) -> Repository:
        found = self._first((CONFIG,))
        if found is None:
            raise InputError(
                f"{self._named} has no {CONFIG}, which says what its weights are of; download its "
                "file of weights and convert that, with `model`"
            )
        folder = found.parent
        # The rest comes from the same revision, even if somebody pushes another meanwhile.
        self._revision = folder.name if _COMMIT.fullmatch(folder.name) else self._revision
        config = _read_config(found, named=self._named)
        weights = None
        if not _is_run(config):
            weights = self._weights()
        else:
            for name in (*pretrained.FILES, pretrained.CHECKSUMS):
                if self._first((name,)) is None:
                    raise InputError(f"{self._named} is a run of std_keras without {name}")
            pretrained.verify(folder, flag=self._named)
        # What is here may lack these, which another program did not need: the hub is not asked.
        fetched = self._answered
        card = self._first((_CARD,), wanted=False, ask=fetched)
        self._first((LICENSE,), wanted=False, ask=fetched)
        return Repository(
            self._source,
            folder,
            config,
            weights,
            _license(card, config),
            self._revision,
        )

    def _weights(self) -> Path:
        weights = self._first(WEIGHT_FILES)
        if weights is None:
            raise InputError(
                f"{self._named} has none of {', '.join(WEIGHT_FILES)}; download its file of "
                "weights and convert that, with `model`"
            )
        if weights.name.endswith(".json"):
            from std_keras.weights import safetensors_file
            from std_keras.weights.format_error import FormatError

            try:
                parts = safetensors_file.parts(weights)
            except FormatError as error:
                raise InputError(f"{self._named}: {weights.name} {error}") from error
            for part in parts:
                if self._first((part.name,)) is None:
                    raise InputError(f"{self._named} lacks {part.name}, which its index lists")
        return weights

    def _first(
        self, names: tuple[str, ...], *, wanted: bool = True, ask: bool = True
    ) -> Path | None:
        """The first of these files that is in the cache, else the first that is on the hub.

        Args:
            names: in the order of preference.
            wanted: whether it is an error that the hub cannot be asked.
            ask: whether to ask it at all.
        """
        errors = self._errors
        for name in names:
            try:
                return self._file(name, cached=True)
            except errors.EntryNotFoundError:
                continue
            except errors.HFValidationError as error:
                raise InputError(f"{self._named}: {reason_of(error)}") from error
        for name in names if ask else ():
            try:
                found = self._file(name, cached=False)
                self._answered = True
                return found
            except errors.LocalEntryNotFoundError as error:
                if not wanted:
                    return None
                raise InputError(self._unreachable(names[0])) from error
            except errors.EntryNotFoundError:
                self._answered = True
                continue
            except errors.GatedRepoError as error:
                raise InputError(
                    f"{self._named} is shown to those who accept its terms: do that on its page, "
                    "and log in with hf auth login"
                ) from error
            except errors.RepositoryNotFoundError as error:
                raise InputError(
                    f"{self._named}: the hub has no {self._repo}, or it is private; correct the "
                    "name, or log in with hf auth login"
                ) from error
            except errors.RevisionNotFoundError as error:
                raise InputError(
                    f"{self._named}: {self._repo} has no revision {self._revision}"
                ) from error
            except Exception as error:  # What the hub answers with; its HTTP client has others.
                if isinstance(error, OSError) and error.errno in DISK_FAULTS:
                    raise
                raise InputError(f"{self._named}: {reason_of(error)}") from error
        return None

    def _file(self, name: str, *, cached: bool) -> Path:
        return Path(
            self._download(
                self._repo,
                name,
                revision=self._revision,
                local_files_only=cached,
                library_name="std_keras",
                library_version=_version(),
            )
        )

    def _unreachable(self, name: str) -> str:
        constants = self._constants
        why = (
            "HF_HUB_OFFLINE forbids to ask the hub"
            if constants.is_offline_mode()
            else "the hub cannot be reached"
        )
        return (
            f"{self._named}: {name} is not in {constants.HF_HUB_CACHE} and {why}; run "
            f"hf download {self._repo} where there is a network, and copy that folder"
        )


def cache_folder(*names: str) -> Path:
    """Where what is made of a repository is kept: with the hub's own caches, as HF_HOME says."""
    try:
        from huggingface_hub import cached_assets_path
    except ImportError:  # For a folder the hub's package is not needed.
        home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
        folder = user_path(home) / "assets" / "std_keras" / "/".join(names)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    return cached_assets_path("std_keras", *names)


def _read_config(path: Path, *, named: str) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise ValueError("it is too large")
        config = json.loads(read_text(path))
        if not isinstance(config, dict):
            raise ValueError("it does not hold a JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{named}: {path} cannot be read: {error}") from error
    return config


def _is_run(config: dict[str, Any]) -> bool:
    """Whether a description is that of a run of this project."""
    return {"model", "dataset", "distillation"} <= set(config)


def _license(card: Path | None, config: dict[str, Any]) -> str | None:
    """What a model card's header states; without a card what timm's configuration does."""
    if card is not None and card.is_file():
        try:
            header = _HEADER.match(read_text(card))
        except (OSError, UnicodeDecodeError):
            return None
        stated = _LICENSE.search(header[1]) if header else None
        return stated[1] if stated else None
    weights = config.get("pretrained_cfg")
    named = weights.get("license") if isinstance(weights, dict) else None
    return named if isinstance(named, str) and _LICENSE_NAME.fullmatch(named) else None


def _version() -> str:
    try:
        return importlib.metadata.version("std_keras")
    except importlib.metadata.PackageNotFoundError:  # A checkout.
        return "0"
