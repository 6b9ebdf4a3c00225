"""The library speaks of arguments; only a program speaks of `--flags`."""

from __future__ import annotations

import ast
import re

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "std_keras"
# Room or file: why flags stand in it.
ALLOWED = {
    "config": "texts of --help",
    "programs": "they have flags",
    "research/studies": "options of `std-keras analyze`",
    "research/sweeps": "a sweep is written in flags",
    "training/stream.py": "names that the teacher caches on disk have",
    "extras.py": "flags of pip",
    "runs/machine.py": "flags of git and nvidia-smi",
    "runs/packing/card.py": "the model card shows commands",
    "weights/layouts/std_pytorch.py": "a flag of the reproduction's own program",
    "xla_cache.py": "flags of TensorFlow",
}
# A whole command, which somebody may copy, is one in any case.
_COMMAND = re.compile(r"`std-keras [^`]*`")
_FLAG = re.compile(r"(?<![\w-])--(\[no\])?(\{|[a-z])")


def flags_in(source: str) -> list[str]:
    """Lines with a string that holds a `--word`, or `--{name}` of an f-string."""
    found = []
    nodes = list(ast.walk(ast.parse(source)))
    parts = {id(v) for node in nodes if isinstance(node, ast.JoinedStr) for v in node.values}
    for node in nodes:
        texts = []
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            texts = [node.value]
        elif isinstance(node, ast.JoinedStr):
            texts = ["".join(v.value if isinstance(v, ast.Constant) else "{" for v in node.values)]
        found += [
            f"line {node.lineno}: {text[:60]}"
            for text in texts
            if _FLAG.search(_COMMAND.sub("", text))
        ]
    return found


def test_what_counts_as_a_flag():
    assert flags_in('raise InputError(f"--head={head}: x")')
    assert flags_in('raise InputError(f"--{name}={value}")')
    assert flags_in('"""See `--[no]jit_compile`."""')
    assert not flags_in('raise InputError(f"head={head} -- a-b --- x")')
    assert not flags_in('f"run `std-keras pack RUN --name={name}`"')
    assert flags_in('"run `std-keras pack RUN` with --name=x"')
    assert not flags_in("x = 1  # --head")


def checked() -> list[str]:
    """The files of the package in which no flag may stand."""
    files = [file.relative_to(PACKAGE).as_posix() for file in sorted(PACKAGE.rglob("*.py"))]
    return [f for f in files if not any(f == a or f.startswith(f"{a}/") for a in ALLOWED)]


@pytest.mark.parametrize("file", checked())
def test_the_library_names_arguments(file):
    assert not flags_in((PACKAGE / file).read_text(encoding="utf-8"))


def test_what_is_allowed_is_there():
    for place in ALLOWED:
        assert (PACKAGE / place).exists()
