"""`std-keras`: its commands, how they are found, and what they load before they work."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys

import pytest

from std_keras.config.option import check_value
from std_keras.errors import InputError
from std_keras.programs import commands, flags, shared_options
from std_keras.programs.commands import COMMANDS
from std_keras.programs.program import StopRequest

HEAVY = ("tensorflow", "keras", "tensorflow_datasets", "sklearn", "matplotlib")
SHARED = {
    name.lower(): option
    for name, option in vars(shared_options).items()
    if isinstance(option, flags.Option) and name not in ("NEW_RUN", "REPORT_DIR", "EXAMPLES")
}


def first_words(name):
    """What stands between a command's name and its flags."""
    return ["agreement"] if name == "analyze" else []


def imported(root, *arguments):
    """Runs `std-keras ARGUMENTS`; its exit code, output, and the packages that it imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "std_keras", *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    lines = done.stderr.splitlines()
    names = [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]
    said = [line for line in lines if not line.startswith("import time:")]
    return done.returncode, done.stdout, said, {name.partition(".")[0] for name in names}


def options_of(name, monkeypatch):
    """The options that a command has."""

    class Asked(Exception):
        pass

    def parse(arguments, *, options, **others):
        raise Asked(options)

    with monkeypatch.context() as patch:
        patch.setattr(flags, "parse", parse)
        module = importlib.import_module(f"std_keras.programs.{COMMANDS[name].module}")
        with pytest.raises(Asked) as caught:
            module.main(first_words(name), StopRequest())
    return caught.value.args[0]


def test_help_lists_every_command_in_its_group(root):
    code, page, said, packages = imported(root, "--help")
    assert (code, said) == (0, [])
    assert packages.isdisjoint(HEAVY)
    starts = [page.index(f"\n{title}\n") for title in commands.GROUPS.values()]
    assert starts == sorted(starts)
    for name, command in COMMANDS.items():
        begin = page.index(f"\n{commands.GROUPS[command.group]}\n")
        end = min((s for s in starts if s > begin), default=len(page))
        (line,) = [x for x in page[begin:end].splitlines() if x.startswith(f"  {name} ")]
        assert line.endswith(command.about) and len(line) <= 80
    assert len(COMMANDS) >= 15


def test_no_command_exits_2_with_the_list(run_command):
    code, out, said = run_command()
    assert (code, out) == (2, "")
    assert commands.help_text() in said
    assert said.splitlines()[-1].startswith("error: no command is given")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("trian", "'trian' is not a command; did you mean train?"),
        ("evalute", "did you mean evaluate?"),
        ("resize-image", "did you mean resize-images?"),
        ("xyzzy", "'xyzzy' is not a command; std-keras --help lists the commands"),
        ("--model_dir=x", "--model_dir=x comes before the command"),
    ],
)
def test_an_unknown_command_is_one_line(run_command, given, words):
    code, out, said = run_command(given, "--flag=1")
    assert (code, out, said.count("\n")) == (2, "", 1)
    assert words in said


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("resize_weights", "resize-weights"),
        ("resize-images", "resize-images"),
        ("contact-sheet", "preview"),
        ("contact_sheet", "preview"),
    ],
)
def test_other_names_of_a_command(run_command, given, name):
    code, page, _ = run_command(given, "--help")
    assert code == 0
    assert f"Usage: std-keras {name} " in page


def test_version(run_command):
    import std_keras

    assert run_command("--version")[:2] == (0, f"std_keras {std_keras.__version__}\n")


# Forks for each list of arguments, and says what `imported` returns of each.
EACH = """
import contextlib, io, json, os, sys
from std_keras.programs import main, program

for arguments in json.loads(sys.argv[1]):
    if os.fork():
        assert os.wait()[1] == 0
        continue
    out, error = io.StringIO(), io.StringIO()
    sys.argv = ["std-keras", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = program.run(main.main)
    packages = sorted({name.partition(".")[0] for name in sys.modules})
    said = error.getvalue().splitlines()
    print(json.dumps([arguments, code, out.getvalue(), said, packages]), flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def imported_by_each(root):
    """`imported` of every command, asked for help and with a wrong flag."""
    given = [
        [name, *first_words(name), flag]
        for name in COMMANDS
        for flag in ("--help", "--no_such_flag=1")
    ]
    done = subprocess.run(
        [sys.executable, "-c", EACH, json.dumps(given)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [arguments for arguments, *_ in found] == given
    return {tuple(arguments): (*said, set(packages)) for arguments, *said, packages in found}


@pytest.mark.parametrize("name", COMMANDS)
def test_flags_are_read_before_anything_large_is_loaded(imported_by_each, name):
    words = first_words(name)
    code, page, said, packages = imported_by_each[name, *words, "--help"]
    assert (code, said) == (0, [])
    assert f"Usage: {' '.join(['std-keras', name, *words])} " in page
    assert packages.isdisjoint(HEAVY)
    code, page, said, packages = imported_by_each[name, *words, "--no_such_flag=1"]
    assert (code, page, len(said)) == (2, "", 1)
    assert "--no_such_flag is not a flag of std-keras" in said[0]
    assert packages.isdisjoint(HEAVY)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_number_has_limits_that_the_parser_checks(monkeypatch, run_command, name):
    for flag, option in options_of(name, monkeypatch).items():
        if option.kind not in (int, float) or flag == "shuffle_seed":
            continue
        assert option.check, f"--{flag} of {name} takes any number"
        strange = next(v for v in (-1, 0, 10**9) if not option.check(v))
        code, out, said = run_command(name, *first_words(name), f"--{flag}={strange}")
        assert (code, out, said.count("\n")) == (2, "", 1), said
        assert said.startswith(f"error: --{flag}={strange}") and option.wanted in said


@pytest.mark.parametrize("name", COMMANDS)
def test_options_that_commands_share_mean_the_same(monkeypatch, name):
    found = options_of(name, monkeypatch)
    for flag in SHARED.keys() & found.keys():
        ours, theirs = SHARED[flag], found[flag]
        assert (ours.kind, ours.choices) == (theirs.kind, theirs.choices), flag
        for value in (-1, 0, 2) if ours.check else ():
            if refuses(ours, value):  # One may be stricter: cka needs batches of four.
                assert refuses(theirs, value), flag
    if name not in ("classify", "preview", "resize-images", "resize-weights", "convert", "pack"):
        assert SHARED.keys() & found.keys()


def refuses(option, value):
    try:
        check_value("x", option, option.kind(value))
    except InputError:
        return True
    return False
