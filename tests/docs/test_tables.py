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
        resolved = resolve(
            config,
            image_size=config.data.image_size or IMAGE_SIZES[config.data.dataset],
            # Of own images it is said with --dataset.
            horizontal_flip=config.data.dataset != "digits" or file.stem == "own_images",
        ).flat()
        return resolved | {
            "distillation": given["distillation"]
        }  # auto: with a teacher or without.

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


def columns(page) -> dict[str, list[list[str]]]:
    """The tables of hyper-parameters: each by the flag file that one of its columns is of."""
    found = [t for t in tables(page) if t[0][0] == "flag" and t[0][1].startswith("`")]
    return {name.strip("`"): table for table in found for name in table[0][1:]}


def cell_of(recipe: dict[str, Any], name: str, field: str) -> str:
    """What the tables say of a flag; a part that is off, or the start's, is none of the recipe."""
    if recipe["distillation"] == "none" and field in ("alpha", "temperature", "confidence"):
        return shown(None)
    if name == "own_images" and field == "model":
        return shown(None)
    return shown(recipe[field])


def test_recipe_tables_are_what_the_flag_files_say(page, recipes):
    tables_of = columns(page)
    for name, table in tables_of.items():
        column = table[0].index(f"`{name}`")
        for row in table[1:]:
            assert row[column] == cell_of(recipes[name], name, row[0].strip("`-")), (name, row[0])
    assert not set(tables_of) & set(VARIANTS)
    assert {*tables_of, *VARIANTS} == set(recipes)


def of_students(page) -> list[list[str]]:
    (table,) = (t for t in tables(page) if t[0][0] == "flag" and not t[0][1].startswith("`"))
    return table


def test_what_the_students_of_the_long_recipes_share(page, recipes):
    table = of_students(page)
    students = [c for name, c in recipes.items() if "_std" in name and "_gpu" not in name]
    alone = recipes[table[0][2].strip("`")]
    for flag, common, cell in table[1:]:
        field = flag.strip("`-")
        assert {shown(c[field]) for c in students} == {common}, flag
        assert shown(alone[field]) == cell, flag


# In the first table in words, or when something is logged, saved or sent.
ELSEWHERE = {
    "checkpoint_every_steps",
    "dataset",
    "evaluate_every_epochs",
    "initialize_from",
    "propagate_tokens",
    "steps_per_call",
    "teacher",
}


def test_every_flag_of_a_flag_file_is_in_the_tables(page, root):
    usual = TrainConfig().flat()
    students = [row[0].strip("`-") for row in of_students(page)[1:]]
    for name, table in columns(page).items():
        given = flags.parse(
            [f"--flagfile={root / 'flags' / name}.flags"],
            program="",
            about="",
            options=options(),
            defaults=defaults(),
        )
        rows = {row[0].strip("`-") for row in table[1:]}
        if name in ("cifar100_mixer_s4_like_reproduction", "imagenet_mixer_s16_std"):
            rows |= set(students)
        changed = {flag for flag, value in given.items() if flag in usual and value != usual[flag]}
        assert changed - ELSEWHERE <= rows, name


VARIANTS = {
    "digits_resnet32": "digits_resnet20",
    "digits_mixer_std": "digits_mixer",
    "cifar100_cpu_mixer_std": "cifar100_cpu_mixer",
    "cifar100_cpu_resnet32": "cifar100_cpu_resnet20",
    "cifar100_cpu_resnet56": "cifar100_cpu_resnet20",
    "cifar100_resnet32": "cifar100_resnet20",
    "cifar100_resnet56": "cifar100_resnet20",
    "cifar100_mixer_s4_std": "cifar100_mixer_s4",
    "cifar100_mixer_s4_std_2t": "cifar100_mixer_s4",
    "cifar100_mixer_s4_std_intermediate": "cifar100_mixer_s4",
    "cifar100_mixer_s4_std_propagate": "cifar100_mixer_s4",
    "cifar100_gpu_mixer_s4_std_2t": "cifar100_gpu_mixer_s4_std_strong",
}


@pytest.mark.parametrize(("variant", "column"), VARIANTS.items())
def test_variants_share_their_column(page, recipes, variant, column):
    fields = [row[0].strip("`-") for row in columns(page)[column][1:] if row[0] != "`--model`"]
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
