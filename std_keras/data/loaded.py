"""What the reader of one kind of data set hands over."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from std_keras.data.source import Source
from std_keras.errors import InputError


@dataclasses.dataclass(frozen=True)
class Loaded:
    """The parts of a data set as its files give them, before anything is held out of train.

    Attributes:
        label_names: one per class, in the order of the labels.
        train: what to learn from.
        test: what to report on.
        origins: where `train`, `test` (and `validation`) came from, in words.
        validation: only where the files name such a part.
        skipped: files left out because they cannot be decoded.
        left_out: by ending (".heic"), how many files in class folders are of a kind that is not
            read.
        sides: the shorter sides of some of the pictures, in pixels and ascending; none if all
            pictures have the size of the images.
    """

    label_names: tuple[str, ...]
    train: Source
    test: Source
    origins: Mapping[str, str]
    validation: Source | None = None
    skipped: tuple[str, ...] = ()
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    sides: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class TestPart:
    """How a set without a test part gets one.

    Attributes:
        fraction: held out of the images, the same of every class; 0 to refuse such a set.
        seed: of the choice.
        whole: use all images as the test part too, for the evaluation of a model that has seen
            none of them.
    """

    __test__ = False  # Not a test of pytest's.

    fraction: float = 0.0
    seed: int = 0
    whole: bool = False

    def origin(self, source: str, *, of: str = "each class") -> str:
        """In words, where `source` is what it is cut from."""
        return f"test_fraction={self.fraction:g} of {of} of {source}, test_seed={self.seed}"

    def refuse_other(self, flag: str, own: str) -> None:
        """Raises an InputError if a set that has a test part of its own is to be cut."""
        if self.fraction:
            raise InputError(
                f"test_fraction={self.fraction:g}: {flag} has a test part of its own ({own}); "
                "leave it out"
            )

    def require(self, flag: str, lacking: str) -> None:
        """Raises an InputError if a set without a test part is not to be cut."""
        if not self.fraction and not self.whole:
            raise InputError(
                f"{flag}: {lacking}; pass test_fraction=0.2 to hold out a fifth of each class"
            )
