"""The tools say what is theirs, and nothing that TensorFlow says while it is loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_IMPORTS = """
import importlib, pathlib
for path in sorted(pathlib.Path("tools").glob("*.py")):
    if "__main__" in path.read_text():
        importlib.import_module(f"tools.{path.stem}")
"""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-c", _IMPORTS), ""),
        (("-m", "tools.token_gradients", "nowhere", "keras:ResNet50"), "there is no such dir"),
        (("-m", "tools.logit_rank", "nowhere", "digits"), "nowhere is not a run directory"),
    ],
)
def test_a_tool_is_quiet(root, arguments, words):
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stderr.splitlines()
    assert done.stdout == ""
    if not words:
        assert (done.returncode, lines) == (0, [])
    else:
        assert (done.returncode, len(lines)) == (2, 1), done.stderr
        assert lines[0].startswith("error: ")
        assert words in lines[0]
