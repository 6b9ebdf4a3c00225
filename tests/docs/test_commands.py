"""Every command in the documentation exists, and so does each of its flags and flag files."""

from __future__ import annotations

import importlib
import re
import shlex
from types import ModuleType

import pytest

from std_keras.programs import analyze, commands, flags
from std_keras.programs.program import StopRequest
from tests.docs import markdown
from tests.docs.markdown import DOCUMENTS, PAGES, RESULTS, ROOT, read
from tools import benchmark

FLAG_FILES = tuple(
    file.relative_to(ROOT).as_posix()
    for pattern in ("flags/*.flags", "flags/sweeps/*.toml")
    for file in sorted(ROOT.glob(pattern))
)
# Pages that would pass unnoticed if their commands were no longer found.
LEAST = {
    "README.md": 5,
    "docs/analysis.md": 4,
    "docs/distributed.md": 9,
    "docs/export.md": 5,
    "docs/images.md": 5,
    "docs/index.md": 7,
    "docs/photographs.md": 6,
    "docs/recipes.md": 2,
    "docs/runs.md": 1,
    "docs/speed.md": 12,
    "docs/sweeps.md": 2,
    "docs/teachers.md": 4,
    "docs/undistillable.md": 3,
    "docs/weights.md": 6,
}


class Understood(Exception):
    """A command has parsed its arguments, and does not need to go on."""


def command_of(program: str, arguments: list[str]) -> tuple[ModuleType, list[str]]:
    """The module whose `main` the command is, and the arguments for it."""
    if program.startswith("python -m tools."):
        return importlib.import_module(program.removeprefix("python -m ")), arguments
    if program.startswith("python -m std_keras."):
        name = program.removeprefix("python -m std_keras.")
    else:
        name, *arguments = arguments
    return importlib.import_module(f"std_keras.programs.{commands.find(name).module}"), arguments


def understand(program: str, line: str, monkeypatch, *, complete: bool) -> None:
    """Has a command parse its arguments; raises what it raises for wrong ones."""
    if "COMMAND" in line or not line.strip() or line == "--help":
        return
    module, arguments = command_of(program, shlex.split(line, comments=True))
    if not complete and (not arguments or not arguments[-1].startswith("-")):
        return  # Only the name of a command, or of a file after it, in a sentence.
    arguments = [a for a in arguments if a != "--flagfile=..."]
    real_parse = flags.parse

    def parse(given, **keywords):
        if not complete:
            keywords |= {"required": ()}
            if keywords.get("words") and all(word.startswith("-") for word in given):
                given = [*given, "FILE"]
        real_parse(given, **keywords)
        raise Understood

    with monkeypatch.context() as patched:
        patched.setattr(flags, "parse", parse)
        with pytest.raises((Understood, flags.HelpRequested)):
            module.main(arguments, StopRequest())
    if module.__name__ == "std_keras.programs.launch":  # The rest goes to the workers.
        rest = [a for a in arguments if not a.startswith("--workers=")]
        understand("std-keras", shlex.join(["train", *rest]), monkeypatch, complete=complete)


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md", *FLAG_FILES])
def test_every_command_is_understood(document, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = read(document)
    lines = markdown.command_lines(text)
    assert len(lines) >= LEAST.get(
        document, document in FLAG_FILES and "smoke.flags" not in document
    )
    for program, line in lines:
        understand(program, line, monkeypatch, complete=True)
    for program, line in markdown.commands_in_sentences(text):
        understand(program, line, monkeypatch, complete=False)


@pytest.mark.parametrize("page", RESULTS)
def test_the_commands_of_the_tables_can_be_run(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = read(page)
    table = ROOT / page.replace(".md", ".csv")
    if table.is_file():
        head = [x for x in table.read_text(encoding="utf-8").splitlines() if x.startswith("# ")]
        assert set(markdown.command_lines("\n".join(head))) <= set(markdown.command_lines(text))
    lines, sentences = markdown.command_lines(text), markdown.commands_in_sentences(text)
    assert lines
    assert "python tools/" not in text
    for program, line in lines:
        understand(program, line, monkeypatch, complete=True)
    for program, line in sentences:
        understand(program, line, monkeypatch, complete=False)


class Asked(Exception):
    """The options of a command, instead of its work."""


@pytest.fixture(scope="module")
def known_flags() -> set[str]:
    """The flags of all commands, and of the tools of the repository."""
    known = {"flagfile", "help", "logdir"}
    files = (ROOT / "tools").glob("*.py")
    tools = [file.stem for file in files if "flags.parse" in file.read_text(encoding="utf-8")]
    programs = [("std-keras", [name]) for name in commands.COMMANDS]
    programs += [("std-keras", ["analyze", name]) for name in analyze.ANALYSES]
    programs += [(f"python -m tools.{tool}", []) for tool in tools]
    programs += [("python -m tools.benchmark", [name]) for name in benchmark.BENCHMARKS]

    def ask(given, *, options, **keywords):
        raise Asked(*options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(flags, "parse", ask)
        for program, line in programs:
            module, arguments = command_of(program, line)
            try:
                module.main(arguments, StopRequest())
            except Asked as asked:
                known |= set(asked.args)
            except flags.HelpRequested:  # A word comes before the flags: it is in the list, too.
                assert arguments == []
    return known


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_flag_that_is_named_exists(document, known_flags):
    # Flags of others have hyphens, or stand in a line or a variable of theirs.
    text = re.sub(r"^ *#SBATCH .*$", "", read(document), flags=re.MULTILINE)
    text = re.sub(r"TF_XLA_FLAGS=\S+", "", text)
    named = set(re.findall(r"(?<![\w-])--(\w+)(?![\w-])", text))
    assert {n for n in named if not {n, n.removeprefix("no")} & known_flags} == set()


def test_a_wrong_flag_would_be_noticed(monkeypatch):
    with pytest.raises(flags.InputError, match="epoch_count"):
        understand("std-keras", "train --epoch_count=3 --model_dir=RUN", monkeypatch, complete=True)


@pytest.mark.parametrize("document", FLAG_FILES)
def test_sweeps_and_flag_files_name_themselves(document):
    commands_of_file = markdown.command_lines(read(document))
    assert document == "flags/smoke.flags" or any(
        document.rpartition("/")[2] in line for _, line in commands_of_file
    )


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_files_of_the_repository_that_are_named_exist(document):
    named = set(
        re.findall(r"(?<![\w./])((?:flags|tools|tests|std_keras)/[\w/.]*\w)", read(document))
    )
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_start_lists_every_command_once():
    (table,) = (t for t in markdown.tables(read("docs/index.md")) if t[0][0] == "command")
    assert sorted(row[0].strip("`") for row in table[1:]) == sorted(commands.COMMANDS)


def test_readme_lists_every_command_in_its_group():
    (table,) = (t for t in markdown.tables(read("README.md")) if "`train`" in t[2][1])
    written = {row[0]: re.findall(r"`([\w-]+)`", row[1]) for row in table[1:]}
    groups: dict[str, list[str]] = {group: [] for group in commands.GROUPS}
    for name, command in commands.COMMANDS.items():
        groups[command.group].append(name)
    assert written == groups


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", read(document)):
        assert ((ROOT / document).parent / target).exists(), target


@pytest.mark.parametrize("document", ["README.md", *PAGES])
def test_nobody_is_sent_to_tools_that_moved(document):
    assert not re.findall(r"python tools/\w+\.py", read(document))


def test_readme_is_two_screens():
    assert len(read("README.md").splitlines()) <= 200
