"""Every tool answers `--help`, and begins nothing if it does not understand its command line."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from std_keras.programs import program

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = sorted(
    path.stem
    for path in (ROOT / "tools").glob("*.py")
    if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")
)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs a tool in an empty folder; returns its exit code, and what it printed and wrote."""
    monkeypatch.setattr(program.StopRequest, "install", lambda self: None)
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")  # As quickstart sets it.
    monkeypatch.chdir(tmp_path)

    def run_tool(name, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        monkeypatch.delitem(sys.modules, f"tools.{name}", raising=False)
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(f"tools.{name}", run_name="__main__")
        printed = capsys.readouterr()
        assert list(tmp_path.iterdir()) == []
        return ended.value.code or 0, printed.out, printed.err

    return run_tool


def test_there_are_tools():
    assert len(TOOLS) > 12
    assert "quickstart" in TOOLS


@pytest.mark.parametrize("name", TOOLS)
def test_help_says_what_the_tool_does(run, name):
    code, out, error = run(name, "--help")
    assert (code, error) == (0, "")
    text = (ROOT / "tools" / f"{name}.py").read_text(encoding="utf-8")
    assert "usage: " in out.lower()
    assert f"tools.{name}" in out or f"tools/{name}" in out
    assert len(out) > len(f"python -m tools.{name}") + 60, text[:200]


@pytest.mark.parametrize("name", TOOLS)
def test_an_unknown_flag_is_refused(run, name):
    code, out, error = run(name, "--no_such_flag=3")
    assert (code, out) == (2, "")
    assert "no_such_flag" in error


def test_a_word_is_one_of_those_that_are_known(run):
    code, _, error = run("time_cycle_fc", "jit")
    assert code == 2
    assert "jit_compile" in error
