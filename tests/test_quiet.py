"""Noise of C++ libraries is held back, but not from whoever must find an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from std_keras import quiet


def test_what_c_writes_is_held_back(capfd):
    with quiet.muted_stderr():
        os.write(2, b"noise\n")
    os.write(2, b"signal\n")
    assert capfd.readouterr().err == "signal\n"


def test_it_is_shown_if_the_block_fails(capfd):
    with pytest.raises(RuntimeError, match="broken"), quiet.muted_stderr():
        os.write(2, b"the reason\n")
        raise RuntimeError("broken")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "the reason\nafter\n"


@pytest.mark.parametrize("redirect", ["", " 2>&-"], ids=["open", "closed"])
def test_tensorflow_loads_without_a_word(redirect):
    """Also with standard error closed, as a daemon may have it."""
    command = f'"{sys.executable}" -c "from std_keras import quiet; quiet.load_tensorflow()"'
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "KERAS_"))}
    root = Path(quiet.__file__).parent.parent
    done = subprocess.run(
        ["sh", "-c", command + redirect],
        env={**environment, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
