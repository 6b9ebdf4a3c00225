"""What README promises about flags and files is so."""

from __future__ import annotations

import dataclasses
import re
import runpy
import shlex
from pathlib import Path

import pytest

from std_keras.config import TrainConfig, defaults, options, resolve
from std_keras.config import augmentation_presets as presets
from std_keras.config.option import Option
from std_keras.programs import classify, evaluate, export, flags

MODEL_DIR = {"model_dir": Option(topic="", help="", kind=str)}
PROGRAMS = {
    "train": {**MODEL_DIR, **options()},
    "evaluate": evaluate._OPTIONS,
    "export": export._OPTIONS,
    "classify": classify._OPTIONS,
}
DEFAULTS = defaults()
ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{file.name}" for file in sorted((ROOT / "docs").glob("*.md"))),
)
IMAGE_SIZES = {"digits": 8, "cifar100": 32, "imagenet2012": 224}


@pytest.fixture(scope="module")
def readme(root) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def recipes(root):
    """The resolved configuration of every shipped flag file, without the smoke layers."""

    def configuration(file) -> TrainConfig:
        given = flags.parse(
            [f"--flagfile={file}"], program="", about="", options=options(), defaults=DEFAULTS
        )
        config = TrainConfig(**given)
        return resolve(
            config,
            image_size=IMAGE_SIZES[config.data.dataset],
            horizontal_flip=config.data.dataset != "digits",
        )

    files = [f for f in (root / "flags").glob("*.flags") if "smoke" not in f.name]
    return {file.stem: configuration(file) for file in files}


def tables(text: str) -> list[list[list[str]]]:
    """The Markdown tables of a text as rows of cells, without the line below the header."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    rows = [[line.strip("|").split("|") for line in block.splitlines()] for block in blocks]
    return [[[c.strip() for c in row] for i, row in enumerate(t) if i != 1] for t in rows]


def shown(value) -> str:
    """A value as the tables write it."""
    if value is None:
        return "–"  # noqa: RUF001
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_flag_file_table_is_complete(readme, recipes):
    (table,) = (t for t in tables(readme) if t[0][0] == "file")
    assert {row[0] for row in table[1:]} == {f"`{name}.flags`" for name in recipes}


def test_recipe_tables_are_what_the_flag_files_say(readme, recipes):
    of_files, of_students = (t for t in tables(readme) if t[0][0] == "flag")
    names = [cell.strip("`") for cell in of_files[0][1:]]
    for flag, *cells in of_files[1:]:
        field = flag.strip("`-")
        assert cells == [shown(getattr(recipes[name], field)) for name in names], flag
    students = [config for name, config in recipes.items() if "_std" in name]
    for flag, cell in of_students[1:]:
        assert {shown(getattr(c, flag.strip("`-"))) for c in students} == {cell}, flag


@pytest.mark.parametrize(
    ("variant", "column"),
    [
        ("digits_resnet32", "digits_resnet20"),
        ("digits_mixer_std", "digits_mixer"),
        ("cifar100_cpu_mixer_std", "cifar100_cpu_mixer"),
        ("cifar100_resnet32", "cifar100_resnet20"),
        ("cifar100_resnet56", "cifar100_resnet20"),
        ("cifar100_mixer_s4_std", "cifar100_mixer_s4"),
        ("cifar100_mixer_s4_std_2t", "cifar100_mixer_s4"),
        ("cifar100_mixer_s4_std_intermediate", "cifar100_mixer_s4"),
        ("cifar100_mixer_s4_std_propagate", "cifar100_mixer_s4"),
    ],
)
def test_variants_share_their_column(readme, recipes, variant, column):
    table = next(t for t in tables(readme) if t[0][0] == "flag")
    fields = [row[0].strip("`-") for row in table[1:] if row[0] != "`--model`"]
    values = [{name: getattr(recipes[n], name) for name in fields} for n in (variant, column)]
    assert values[0] == values[1]


@pytest.fixture(scope="module")
def families(readme) -> list[tuple[dict[str, float], set[str]]]:
    """Of each family in README: its names with millions of parameters, and its flags."""
    (table,) = (t for t in tables(readme) if t[0][0] == "family")
    return [
        (
            {name: float(count) for name, count in re.findall(r"`(\w+)` \(([\d.]+)\)", row[1])},
            set(re.findall(r"`--(\w+)`", row[3])),
        )
        for row in table[1:]
    ]


def test_model_table_has_the_golden_counts(root, families):
    golden = runpy.run_path(str(root / "tests" / "models" / "test_parameter_counts.py"))
    counts = {**golden["STUDENTS"], **golden["TEACHERS"]}
    counts |= {
        name: of_100_classes for name, (_, of_100_classes) in golden["CIFAR_RESNETS"].items()
    }
    written = {name: count for names, _ in families for name, count in names.items()}
    assert written == {name: round(count / 1e6, 2) for name, count in counts.items()}


def test_model_table_has_the_flags(families):
    from std_keras.models import registry

    for names, written in families:
        for name in names:
            fields = {field.name for field in dataclasses.fields(registry.resolve(name))}
            assert written == fields & set(options()), name


def test_table_of_presets(readme):
    (table,) = (t for t in tables(readme) if t[0][0] == "part")
    names = [cell.strip("`") for cell in table[0][1:]]
    assert tuple(names) == presets.NAMES
    given = TrainConfig().augmentation_flags()

    def values(preset: str, image_size: int) -> dict[str, str]:
        chosen = presets.resolved(
            given, preset=preset, image_size=image_size, flip_keeps_class=True
        )
        return {name: shown(value) for name, value in chosen.items()}

    for column, preset in enumerate(names, start=1):
        large, small = values(preset, 224), values(preset, presets.SMALL_IMAGE)
        for row in table[1:]:
            flag = row[0].strip("`-")
            either = {large[flag], f"{small[flag]} up to {presets.SMALL_IMAGE} px"}
            same = large[flag] == small[flag]
            assert row[column] == large[flag] if same else set(row[column].split("; ")) == either


def test_parts_outside_the_table_of_presets_are_common_to_all(readme):
    (table,) = (t for t in tables(readme) if t[0][0] == "part")
    listed = {row[0].strip("`-") for row in table[1:]}
    given = TrainConfig().augmentation_flags()
    chosen = [
        presets.resolved(given, preset=preset, image_size=224, flip_keeps_class=True)
        for preset in presets.NAMES
    ]
    assert all(
        values[name] == chosen[0][name]
        for values in chosen
        for name in values
        if name not in listed
    )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_flag_that_is_named_exists(root, document):
    text = (root / document).read_text(encoding="utf-8")
    known = {"flagfile", "help", "logdir", *(name for p in PROGRAMS.values() for name in p)}
    for tool in (root / "tools").rglob("*.py"):
        known |= set(re.findall(r'"(\w+)": Option\(', tool.read_text(encoding="utf-8")))
    # Flags of others have hyphens, or stand in a line of theirs.
    text = re.sub(r"^ *#SBATCH .*$", "", text, flags=re.MULTILINE)
    named = set(re.findall(r"(?<![\w-])--(\w+)(?![\w-])", text))
    assert {n for n in named if n not in known and n.removeprefix("no") not in known} == set()


@pytest.mark.parametrize(
    ("document", "least"),
    [("README.md", 8), ("docs/weights.md", 3), ("docs/mobile.md", 1), ("docs/undistillable.md", 2)],
)
def test_every_command_is_understood(root, document, least, monkeypatch):
    monkeypatch.chdir(root)
    text = (root / document).read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"^(?:python -m std_keras\.|std-keras-)(\w+) (.*)$", text, re.MULTILINE)
    assert len(commands) >= least
    for program, arguments in commands:
        flags.parse(
            shlex.split(arguments),
            program=program,
            about="",
            options=PROGRAMS[program],
            defaults=DEFAULTS if program == "train" else {},
            required=("model",) if program == "classify" else ("model_dir",),
            words="IMAGE" if program == "classify" else "",
        )


def test_table_of_layouts(root):
    from std_keras.weights import LAYOUTS

    text = (root / "docs" / "weights.md").read_text(encoding="utf-8")
    (table,) = (t for t in tables(text) if t[0][0] == "`--layout`")
    written = {
        (row[0].strip("`"), family)
        for row in table[1:]
        for family in re.findall(r"`(\w+)\*`", row[1])
    }
    assert written == {(layout.name, family) for layout in LAYOUTS for family in layout.families}


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_links_lead_somewhere(root, document):
    text = (root / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((root / document).parent / target).exists(), target
