"""The library speaks of arguments; only a program speaks of `--flags`."""

from __future__ import annotations

import ast
import re

import pytest

# Not yet: what another change in progress rewrites. (Room or file: why flags stand in it.)
ALLOWED = {
    "config": "texts of --help",
    "programs": "they have flags",
    "training": "messages of the loop",
    "losses": "messages of the losses",
    "teachers": "messages of the loader",
    "research/studies": "options of `std-keras analyze`",
    "research/sweeps": "a sweep is written in flags",
    "runs/machine.py": "flags of git and nvidia-smi",
    "runs/packing/card.py": "the model card shows commands",
    "weights/layouts/std_pytorch.py": "a flag of the reproduction's own program",
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


@pytest.mark.parametrize("room", ["data", "exporting", "layers", "models", "research", "runs"])
def test_the_library_names_arguments(root, room):
    _check(root, room)


def test_weights_and_the_files_at_the_top_name_arguments(root):
    _check(root, "weights")
    for path in (root / "std_keras").glob("*.py"):
        assert not flags_in(path.read_text(encoding="utf-8")), path.name


def _check(root, room):
    package = root / "std_keras"
    seen = 0
    for path in sorted((package / room).rglob("*.py")):
        place = path.relative_to(package).as_posix()
        if any(place == allowed or place.startswith(f"{allowed}/") for allowed in ALLOWED):
            continue
        seen += 1
        found = flags_in(path.read_text(encoding="utf-8"))
        assert not found, f"{place}: {found}"
    assert seen
