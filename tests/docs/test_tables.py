"""What the tables of the documentation say of recipes, models, weights and flags is so."""

from __future__ import annotations

import dataclasses
import re
import runpy
from typing import Any

import pytest

from std_keras.config import TrainConfig, defaults, options, resolve
from std_keras.programs import flags
from tests.docs.markdown import read, tables

IMAGE_SIZES = {"digits": 8, "cifar100": 32, "imagenet2012": 224}


@pytest.fixture(scope="module")
def page() -> str:
    return read("docs/recipes.md")


@pytest.fixture(scope="module")
def recipes(root):
    """The resolved flags of every shipped flag file, without the smoke layers."""

    def configuration(file) -> dict[str, Any]:
        given = flags.parse(
            [f"--flagfile={file}"], program="", about="", options=options(), defaults=defaults()
        )
        config = TrainConfig(**given)
        return resolve(
            config,
            image_size=config.data.image_size or IMAGE_SIZES[config.data.dataset],
            horizontal_flip=config.data.dataset != "digits",
        ).flat()

    files = [f for f in (root / "flags").glob("*.flags") if "smoke" not in f.name]
    return {file.stem: configuration(file) for file in files}


def shown(value) -> str:
    """A value as the tables write it."""
    if value is None:
        return "–"  # noqa: RUF001
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_flag_file_table_is_complete(page, recipes):
    (table,) = (t for t in tables(page) if t[0][0] == "file")
    assert {row[0] for row in table[1:]} == {f"`{name}.flags`" for name in recipes}


def test_recipe_tables_are_what_the_flag_files_say(page, recipes):
    of_files, of_students = (t for t in tables(page) if t[0][0] == "flag")
    names = [cell.strip("`") for cell in of_files[0][1:]]
    for flag, *cells in of_files[1:]:
        field = flag.strip("`-")
        assert cells == [shown(recipes[name][field]) for name in names], flag
    students = [c for name, c in recipes.items() if "_std" in name and "_gpu" not in name]
    for flag, cell in of_students[1:]:
        assert {shown(c[flag.strip("`-")]) for c in students} == {cell}, flag


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
def test_variants_share_their_column(page, recipes, variant, column):
    table = next(t for t in tables(page) if t[0][0] == "flag")
    fields = [row[0].strip("`-") for row in table[1:] if row[0] != "`--model`"]
    values = [{name: recipes[n][name] for name in fields} for n in (variant, column)]
    assert values[0] == values[1]


@pytest.fixture(scope="module")
def families() -> list[tuple[dict[str, float], set[str]]]:
    """Of each family in the table of models: its names with millions of parameters, its flags."""
    (table,) = (t for t in tables(read("docs/models.md")) if t[0][0] == "family")
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
    for of_cifar in ("CIFAR_RESNETS", "CIFAR_TEACHERS", "AIRBENCHES"):
        counts |= {name: of_100_classes for name, (_, of_100_classes) in golden[of_cifar].items()}
    written = {name: count for names, _ in families for name, count in names.items()}
    assert written == {name: round(count / 1e6, 2) for name, count in counts.items()}


def test_model_table_has_the_flags(families):
    from std_keras.models import registry

    for names, written in families:
        for name in names:
            fields = {field.name for field in dataclasses.fields(registry.resolve(name))}
            assert written == fields & set(options()), name


def test_table_of_layouts():
    from std_keras.weights import LAYOUTS

    (table,) = (t for t in tables(read("docs/weights.md")) if t[0][0] == "`--layout`")
    written = {
        (row[0].strip("`"), family)
        for row in table[1:]
        for family in re.findall(r"`(\w+)\*`", row[1])
    }
    assert written == {(layout.name, family) for layout in LAYOUTS for family in layout.families}


def test_exit_codes():
    from std_keras import errors

    (table,) = (t for t in tables(read("docs/runs.md")) if t[0][0] == "code")
    raised = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.StdKerasError)
    }
    assert {int(row[0]) for row in table[1:]} == {0, *raised} - {1}


def test_packed_weights():
    from std_keras.runs import pretrained

    tables_of_names = [t for t in tables(read("docs/weights.md")) if t[0][0] == "name"]
    (table,) = tables_of_names
    assert [row[0].strip("`") for row in table[1:]] == list(pretrained.names())
