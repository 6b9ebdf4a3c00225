"""The table of docs/augmentation.md against the presets."""

from __future__ import annotations

from fractions import Fraction

import pytest

from std_keras.config import TrainConfig, defaults, options, resolve
from std_keras.config import augmentation_presets as presets
from std_keras.programs import flags
from tests.docs.markdown import read, tables


def value_of(cell: str, *, image_size: int, number: bool):
    small = cell.split(";")
    cell = small[0].strip()
    if image_size <= 32 and len(small) == 2:
        cell = small[1].removesuffix("up to 32 px").strip()
    if cell in ("yes", "no"):
        return cell
    if cell == "size/8":
        return image_size // 8
    return pytest.approx(float(Fraction(cell))) if number else cell


def test_which_flag_files_have_another_preset_than_the_default(root):
    (table,) = (t for t in tables(read("docs/augmentation.md")) if t[0][0] == "preset")
    written = {name.strip("` "): row[0] for row in table[1:] for name in row[1].split(",")}
    found = {}
    for file in (root / "flags").glob("*.flags"):
        if "smoke" in file.name:
            continue
        arguments = [f"--flagfile={file}"]
        given = flags.parse(arguments, program="", about="", options=options(), defaults=defaults())
        preset, flip = given["augmentation"], given["horizontal_flip"]
        if preset != TrainConfig().flat()["augmentation"]:
            found[file.stem] = f"`{preset}`" + (" and flips" if flip == "yes" else "")
    assert written == found


@pytest.mark.parametrize("image_size", [32, 224])
def test_every_flag_with_its_value_in_each_preset(image_size):
    (table,) = (
        t for t in tables(read("docs/augmentation.md")) if "flag" in [cell.strip() for cell in t[0]]
    )
    cells = [[cell.strip().strip("`") for cell in row] for row in table]
    names = cells[0][2:]
    assert tuple(names) == presets.NAMES
    rows = {row[1].removeprefix("--"): row[2:] for row in cells if row[1].startswith("--")}
    determined = presets.resolved(
        TrainConfig().flat(), preset="none", image_size=image_size, flip_keeps_class=True
    )
    assert set(rows) == set(determined)
    for column, name in enumerate(names):
        config = resolve(
            TrainConfig(augmentation=name), image_size=image_size, horizontal_flip=True
        ).flat()
        for flag, row in rows.items():
            actual = config[flag]
            if isinstance(actual, bool):
                actual = "yes" if actual else "no"
            number = not isinstance(actual, str)
            assert value_of(row[column], image_size=image_size, number=number) == actual, flag
